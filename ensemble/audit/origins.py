"""The checks of an audit on labels: of each training row it is recorded what its label was.

That a teacher's fit is honest is checked where fits are; here, that each row which it spoke of is
one that this fit held out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import polars as pl

from ensemble.audit.checks import told_error
from ensemble.battles.held_out import HeldOut
from ensemble.errors import ArtifactError
from ensemble.oof.label_origins import HARD, ORIGIN_SCHEMA, PSEUDO, SOFT, count_kinds
from ensemble.run_dir.layout import LABELS, TRAIN_IDS
from ensemble.run_dir.tables import read_table

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from ensemble.audit.checks import CheckList


def check_origins(
    directory: Path,
    name: str,
    manifest: Mapping[str, Any],
    truth: pl.DataFrame,
    ledger: CheckList,
) -> None:
    """Check what is recorded of the labels that a fit learned.

    Parameters
    ----------
    directory, name
        Where the fit is stored, and what names it in checks.
    manifest
        Its own.
    truth
        Of ``recomputed``.
    ledger
        Takes what holds and what does not.
    """
    title = f"{name}: what each label was is recorded"
    try:
        origins = read_table(directory / LABELS, ORIGIN_SCHEMA)
        trained = read_table(directory / TRAIN_IDS, {"id": pl.String(), "stage": pl.String()})
    except ArtifactError as error:
        ledger.fail(title, told_error(error))
        return
    rows = origins.join(truth.select("id", "source", "role", "fold"), on="id", how="left")
    odd = rows.filter(~_is_as_said(manifest["key_parts"], HeldOut.of(manifest["fold"])))
    apart = set(origins.select("id", "stage").rows()) ^ set(trained.select("id", "stage").rows())
    counts = count_kinds(origins)
    told = ", ".join(f"{n} {kind}" for kind, n in counts.items())
    ledger.record(
        title,
        {*odd["id"], *(name for name, _ in apart)},
        "rows whose label is not recorded, or not as the fit could have had it",
        told,
    )
    if counts != dict(manifest["labels"]):
        ledger.fail(title, f"{told} are stored, and the manifest says {dict(manifest['labels'])}")


def _is_as_said(parts: Mapping[str, Any], held_out: HeldOut) -> pl.Expr:
    """Say whether a row's label can be what is said of it.

    Soft, where a teacher's fit that held the row out spoke of it; pseudo, where labelers did, and
    only then; else hard, of nobody.
    """
    kind, by = pl.col("kind"), pl.col("by").list.sort()
    is_pseudo = pl.col("role") == "pseudo"
    hard = (kind == HARD) & ~is_pseudo & (by.list.len() == 0) & pl.col("fit").is_null()
    soft = pl.lit(value=False)
    for name in {name for keys in parts["teachers"].values() for name in keys}:
        outside = [*{*HeldOut.named(name).folds} - {*held_out.folds}]
        in_fold = pl.col("fold").is_in(outside).fill_null(value=False)
        soft |= (pl.col("fit") == name) & in_fold
    soft &= (kind == SOFT) & _are(by, parts["teachers"])
    pseudo = pl.lit(value=False)
    for source, named in parts["labelers"].items():
        pseudo |= (pl.col("source") == source) & _are(by, named)
    pseudo &= (kind == PSEUDO) & is_pseudo & (pl.col("fit") == held_out.name)
    return (hard | soft | pseudo).fill_null(value=False)


def _are(by: pl.Expr, names: Mapping[str, Any]) -> pl.Expr:
    return by.list.join("\n") == "\n".join(sorted(names))
