"""A learner's model for other programs, written by its plugin and held against the run's logits."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from ensemble.battles.held_out import REFIT, SOUP, HeldOut
from ensemble.battles.prepared import read_battles
from ensemble.battles.schema import learner_view
from ensemble.battles.split import read_split
from ensemble.errors import ArtifactError, ConfigError, InputError
from ensemble.oof.calls import check_same, predict_validated
from ensemble.oof.models import SeedMean, load_one, mean_logits, seed_name
from ensemble.oof.predictions import ANEW, read_logits
from ensemble.oof.store import FoldStore
from ensemble.plugin.contract import tolerance_of
from ensemble.plugin.faults import call_plugin
from ensemble.run_dir.layout import LEARNERS, MODEL, OOF, TEST
from ensemble.run_dir.leftovers import sweep_beside
from ensemble.stacking.settings import learner_specs
from ensemble.storage.directories import atomic_directory
from ensemble.storage.hashing import fingerprint
from ensemble.submission.output import run_around

if TYPE_CHECKING:
    from ensemble.config.settings import Config
    from ensemble.oof.spec import LearnerSpec
    from ensemble.plugin.base import BaseLearner, LogitArray

METHOD = "export"
"""What a learner's class has whose models other programs can load."""
ROWS = 64
"""Most rows that an exported model is held against the run's logits on."""


def which_model(*, fold: int | None, soup: bool, refit: bool) -> HeldOut:
    """Say which model is meant.

    Raises
    ------
    InputError
        None is named, or several.
    """
    named = [
        *([] if fold is None else [HeldOut((fold,))]),
        *([SOUP] if soup else []),
        *([REFIT] if refit else []),
    ]
    if len(named) != 1:
        raise InputError(
            "a learner has several models: name one",
            hint="give one of --fold K, --soup and --refit",
        )
    return named[0]


def export_fit(
    config: Config, learner: str, held_out: HeldOut, output: Path, *, seed: int | None = None
) -> dict[str, Any]:
    """Write a model of a run as a directory that other programs load, whole or not at all.

    Parameters
    ----------
    config
        The run's own config, ``RUN/config.toml``.
    learner
        Whose model.
    held_out
        Which one: a fold's, the refit's or the soup.
    output
        A directory that is not there yet, or is empty.
    seed
        Which of a learner's several seeds; None where it has one.

    Returns
    -------
    dict
        ``output``, ``learner``, ``fit``, ``rows`` that were compared, and what the plugin measured:
        ``max_difference`` of logits and what of it is ``allowed``.

    Raises
    ------
    ConfigError
        There is no such learner, its plugin exports nothing, or it sees privileged columns.
    InputError
        The output is there, or lies in a run; or no seed, or an unknown one, is named.
    ArtifactError
        The model is missing, damaged, or made by other code or on other weights.
    LearnerError
        The model cannot be exported, or gives other logits than the run has.
    """
    spec = {one.name: one for one in learner_specs(config)}[config.learner(learner).name]
    _refuse_unexported(spec)
    _check_place(output)
    store, battles = _store(config), read_battles(Path(config.run_dir))[0]
    if not store.directory(learner, held_out).exists():
        raise _missing(config, store, learner, held_out)
    number = _seed_of(spec, seed)
    where = f'learner "{learner}" (plugin "{spec.plugin_name}"), {held_out.label}'
    manifest = store.read(learner, held_out)
    model = store.load(spec, held_out)
    rows, stored = _compared(store, battles, learner, held_out)
    model, logits = _reference(model, spec, rows, stored, number, where)
    about = {
        "learner": learner,
        "fit": held_out.label if number is None else f"{held_out.label}, seed {number}",
        "ties": config.task.ties,
    }
    written: dict[str, Any] = {**about, "key": manifest["key"], "plan": store.plan}
    sweep_beside(output)
    with atomic_directory(output, written) as place:
        found = call_plugin(METHOD, where, lambda: _export(model, place, rows, logits, about))
        written["checked"] = found
        _check_place(output)  # what has come to lie there meanwhile is somebody's
    return {"output": str(output), **about, **found}


def _export(
    model: Any, place: Path, rows: pl.DataFrame, logits: LogitArray, about: dict[str, Any]
) -> dict[str, Any]:
    return dict(model.export(place, rows, logits, about=dict(about)))


def _refuse_unexported(spec: LearnerSpec) -> None:
    if not callable(getattr(type(spec.prototype), METHOD, None)):
        raise ConfigError(
            f'plugin "{spec.plugin_name}" exports no model: it has no method {METHOD}, and what it '
            "stores is read by itself alone",
            where=f'learner "{spec.name}"',
            hint="language models can be exported; `ensemble predict RUN --test FILE` scores new "
            "rows by any learner",
        )
    if spec.privileged:
        raise ConfigError(
            f"it sees {', '.join(spec.privileged)}, which new battles do not have: nobody could "
            "ask an exported model of it",
            where=f'learner "{spec.name}"',
            hint="export a learner that it teaches",
        )


def _check_place(output: Path) -> None:
    if output.is_symlink() or (output.exists() and not output.is_dir()):
        raise InputError("the output is there, and is no directory", where=str(output))
    if output.is_dir() and any(output.iterdir()):
        raise InputError(
            "the output is a directory that is not empty",
            where=str(output),
            hint="give a directory that is not there yet",
        )
    around = next(one for one in output.absolute().parents if one.exists())
    if not around.is_dir():
        raise InputError(
            f"the output lies below {around}, which is no directory", where=str(output)
        )
    if (run := run_around(output.resolve())) is not None:
        raise InputError(
            f"the output lies in a run directory, {run}, whose files belong together",
            where=str(output),
            hint="give a path outside of it",
        )


def _store(config: Config) -> FoldStore:
    run = Path(config.run_dir)
    plan, data = read_split(run), read_battles(run)[1]
    return FoldStore(run, plan.fingerprint, data, plan.n_splits, config.task.ties)


def _missing(config: Config, store: FoldStore, learner: str, held_out: HeldOut) -> ArtifactError:
    asked = {REFIT: "refit", SOUP: "soup"}.get(held_out)
    if config.models_of(learner) == asked or (asked == "refit" and config.predict.refit):
        asked = None  # it is asked for, and was not made or is gone
    there = sorted(
        path.name
        for path in (Path(config.run_dir) / LEARNERS / learner).glob("*")
        if (path / MODEL).is_dir() and not path.name.startswith(".")
    )
    hint = "run `ensemble run CONFIG`, which makes what is not there"
    if asked:
        hint = f'set models = "{asked}" in its [[learners]] table, and run the config again'
    elif held_out.folds and not {*held_out.folds} <= {*store.planned(learner)}:
        hint = "name a fold of the run's plan"
    return ArtifactError(
        f"the run has no {held_out.label} of it; it has {', '.join(there) or 'no models'}",
        where=f'learner "{learner}" of {config.run_dir}',
        hint=hint,
    )


def _seed_of(spec: LearnerSpec, seed: int | None) -> int | None:
    """Say which of several seeds is meant; None of a learner with one."""
    if spec.seeds == 1 and seed in (None, 0):
        return None
    if seed is None or not 0 <= seed < spec.seeds:
        raise InputError(
            f"each fit of it is {spec.seeds} models, one for each seed"
            if spec.seeds > 1
            else f"it has no seed {seed}: it is fitted once",
            where=f'learner "{spec.name}"',
            hint=f"name one with --seed, 0 to {spec.seeds - 1}" if spec.seeds > 1 else None,
        )
    return seed


def _compared(
    store: FoldStore, battles: pl.DataFrame, learner: str, held_out: HeldOut
) -> tuple[pl.DataFrame, LogitArray | None]:
    """Choose rows that the model has predicted, test rows before others, and read its logits.

    Where it has predicted none, rows of the target, and no logits.
    """
    plan = read_split(store.run)
    frame = plan.frame
    kept = frame["id"].filter(pl.Series(plan.kept_to_the_end()))
    own = frame["id"].filter(frame["fold"].is_in(list(held_out.folds)))
    for table, mask in (
        (TEST, pl.col("is_test")),
        (TEST, pl.col("id").is_in(kept.implode())),
        (OOF, pl.col("id").is_in(own.implode())),
    ):
        rows = _drawn(battles.filter(mask))
        if len(rows):
            path = store.directory(learner, held_out) / table
            logits = read_logits(path, rows["id"])
            if np.isnan(logits).any():
                raise ArtifactError("rows that it predicts are missing", where=str(path), hint=ANEW)
            return rows, logits
    return _drawn(battles.filter(pl.col("role") == "target")), None


def _drawn(battles: pl.DataFrame) -> pl.DataFrame:
    """Draw rows by the hash of their ids: the same ones each time."""
    order = battles.select("id", by=pl.col("id").map_elements(fingerprint, pl.String))
    chosen = order.sort("by")["id"].head(ROWS)
    return learner_view(battles.filter(pl.col("id").is_in(chosen.implode())))


def _reference(
    model: BaseLearner,
    spec: LearnerSpec,
    rows: pl.DataFrame,
    stored: LogitArray | None,
    seed: int | None,
    where: str,
) -> tuple[BaseLearner, LogitArray]:
    """Give the model that is exported, and the logits that it has to give.

    Of several seeds the run has the mean: it must be that of the stored models, and the logits are
    those of the one that is asked for.
    """
    if not isinstance(model, SeedMean) or seed is None:
        return model, predict_validated(model, rows, where) if stored is None else stored
    places = [model.directory / seed_name(number) for number in range(spec.seeds)]
    each = [predict_validated(load_one(spec, one, where), rows, where) for one in places]
    chosen = load_one(spec, places[seed], where)
    if stored is not None:
        tolerance = tolerance_of(chosen, where)
        check_same(stored, mean_logits(each), tolerance, "than the run has stored", where)
    return chosen, each[seed]
