"""Studies of sources that are still of the run, with pictures of shift, effect and learning curve.

Their text is data like any other: the words that tell a source may be anything.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ensemble.errors import ArtifactError
from ensemble.report import text
from ensemble.report.forest import Row, forest
from ensemble.report.svg import CHOSEN, MUTED, PLAIN, Drawing
from ensemble.sources.study import read_study

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from matplotlib.figure import Figure

    from ensemble.report.data import Report
    from ensemble.run_dir.battles_record import BattlesRecord
    from ensemble.run_dir.folds_record import FoldsRecord

_PARTS = ("prompts", "responses")
_KINDS = ("text", "features")
_SIZE = (460.0, 230.0)


def collect_studies(
    run: Path, plan: FoldsRecord | None, sources: BattlesRecord | None
) -> tuple[tuple[dict[str, Any], ...], list[str]]:
    """Read the studies that are of the run as it is now, and say which are left out and why."""
    if plan is None or sources is None or sources.data is None:
        return (), []
    found, left_out = [], []
    for source in sources.sources:
        try:
            study = read_study(run, source.name)
        except ArtifactError as error:
            left_out.append(f"The study of source {source.name}: {error.message}")
            continue
        if study is None:
            continue
        if (study["data"], study["plan"]) == (sources.data, plan.fingerprint):
            found.append(study)
        else:
            left_out.append(
                f"The study of source {source.name} is of other battles or another fold plan: run "
                "`ensemble sources` again"
            )
    return tuple(found), left_out


def draw_studies(report: Report) -> Iterator[dict[str, Any]]:
    """Give each study with its pictures; None where nothing of one was measured."""
    for number, study in enumerate(report.studies):
        yield {
            "study": study,
            "shift": _shift(study, f"source-shift-{number}"),
            "effect": _effect(study, f"source-effect-{number}"),
            "curve": _curve(study, f"source-curve-{number}"),
        }


def _shift(study: dict[str, Any], name: str) -> Drawing | None:
    """Draw how well a classifier tells the source from the target, part by part."""
    if study["shift"] is None:
        return None
    parts = [(part, kind, study["shift"][part][kind]) for part in _PARTS for kind in _KINDS]
    rows = [
        Row(
            f"{part}, by {kind}",
            found["auc"],
            found["low"],
            found["high"],
            f"{text.decimal(found['auc'], 2)}  [{text.decimal(found['low'], 2)}, "
            f"{text.decimal(found['high'], 2)}]",
            combined=True,
        )
        for part, kind, found in parts
        if found["measured"]
    ]
    if not rows:
        return None
    axis = "AUC of source against target (right: easier to tell)"
    lines = {"cannot be told": 0.5}
    return forest(rows, lines, axis=axis, name=name, label=_in_words(rows), end=1.0)


def _effect(study: dict[str, Any], name: str) -> Drawing | None:
    """Draw the gain of each treatment, with the intervals that hold all at once."""
    advice = study["verdict"]["recommended"] or {}
    rows = [
        _gain_row(item, emphasis=item["name"] == advice.get("treatment"))
        for item in study["effect"].get("treatments", ())
        if item["measured"]
    ]
    if not rows:
        return None
    axis = "gain in log loss over the target alone (right: better)"
    return forest(rows, {"target alone": 0.0}, axis=axis, name=name, label=_in_words(rows))


def _gain_row(item: dict[str, Any], *, emphasis: bool) -> Row:
    ends = item["simultaneous"]
    note = (
        f"{text.signed(item['gain']['mean'])}  "
        f"[{text.signed(ends['low'])}, {text.signed(ends['high'])}]"
    )
    shown = ends["low"] > 0 or ends["high"] < 0
    return Row(
        item["name"],
        item["gain"]["mean"],
        ends["low"],
        ends["high"],
        note,
        emphasis=emphasis,
        combined=shown,
    )


def _curve(study: dict[str, Any], name: str) -> Drawing | None:
    """Draw the log loss by the part of the source that is mixed in."""
    points = study["effect"].get("curve") or ()
    if len(points) < 2:
        return None
    shares = [100 * point["share"] for point in points]
    losses = [point["log_loss"] for point in points]
    ends = [_ends(point, losses[0]) for point in points]

    def paint(figure: Figure) -> None:
        axes = figure.add_axes((0.15, 0.2, 0.81, 0.74))
        axes.patch.set_visible(False)
        axes.axhline(losses[0], color=MUTED, linewidth=1, linestyle=(0, (4, 3)))
        axes.vlines(shares, *np.transpose(ends), color=PLAIN, linewidth=1.6)
        axes.plot(shares, losses, "-o", color=CHOSEN, markersize=5)
        axes.set(xlabel="percent of the source, mixed in as it is", ylabel="log loss")
        axes.set_xticks(shares, [f"{share:.0f}" for share in shares])
        axes.locator_params(axis="y", nbins=5)

    words = "; ".join(f"{s:.0f}%: {loss:.4f}" for s, loss in zip(shares, losses, strict=True))
    label = f"Log loss by the part of the source: {words}"
    return Drawing(paint, _SIZE[0], _SIZE[1], name, label)


def _ends(point: dict[str, Any], alone: float) -> tuple[float, float]:
    """Turn a gain's interval into one of the log loss beside that of the target alone."""
    gain = point["gain"]
    return (alone, alone) if gain is None else (alone - gain["high"], alone - gain["low"])


def _in_words(rows: list[Row]) -> str:
    return "; ".join(f"{row.name}: {row.note}" for row in rows)
