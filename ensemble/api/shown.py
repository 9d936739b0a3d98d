"""How a run, its verdict and a comparison look in a notebook."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from ensemble import html
from ensemble.compare.measure import BETTER, UNMEASURED, WORSE
from ensemble.compare.text import sentences, shown
from ensemble.evaluation.text import signed

if TYPE_CHECKING:
    from collections.abc import Sequence

    import polars as pl

_HEADINGS = (
    *("candidate", "log loss", "95% interval", "accuracy", "95% interval"),
    "gain over best simple",
)
_KIND = {
    "learner": "base learner",
    "teacher": "teacher, not stacked",
    "candidate": "combination",
}


class Verdict(dict[str, Any]):
    """The content of ``verdict.json``; a notebook shows it as a table and a sentence."""

    def _repr_html_(self) -> str:
        rows = [
            [
                html.strong(one["name"]) if one["name"] == self["chosen"] else one["name"],
                _number(one.get("log_loss")),
                _interval(one),
                _number((one.get("accuracy") or {}).get("mean")),
                _interval(one.get("accuracy") or {}),
                _gain(one.get("gain_over_best_simple")),
            ]
            for one in self["candidates"]
        ]
        return html.box(
            html.heading(f"Chosen: {self['chosen']}"),
            html.paragraph(self.get("sentence") or ""),
            html.table(_HEADINGS, rows),
        )


class Comparison(dict[str, Any]):
    """What ``compare`` found; a notebook shows it as a table and sentences."""

    def _repr_html_(self) -> str:
        rows = [
            [name, *_difference(found)] for name, found in self["overall"]["differences"].items()
        ]
        headings = ("", f"log loss minus {self['reference']}'s", "conclusion")
        return html.box(
            html.heading("Comparison", f"on {self['rows']:,} battles; below 0 is better"),
            html.table(headings, rows),
            *(html.paragraph(sentence) for sentence in sentences(self)),
        )


class Reviewed(NamedTuple):
    """What ``review`` found; a notebook shows the counts and the first rows.

    Parameters
    ----------
    rows
        One row a battle and reason, with the texts: the content of ``review.csv``.
    summary
        What ``ensemble review --json`` prints: ``counts`` by reason, ``by`` whose predictions,
        ``path`` of the list, and what was measured.
    """

    rows: pl.DataFrame
    summary: dict[str, Any]

    def _repr_html_(self) -> str:
        counts = [[reason, f"{n:,}"] for reason, n in self.summary["counts"].items()]
        return html.box(
            html.heading("Labels worth a second look", str(self.summary["path"])),
            html.table(("reason", "rows"), counts),
        )


def run_html(
    name: str, facts: Sequence[str], scores: pl.DataFrame, verdict: str, notes: Sequence[str]
) -> str:
    """Show a run: what it is, its scores best first, the verdict, and what is not there yet.

    Parameters
    ----------
    name, facts
        The run, and what to say beside its name.
    scores
        ``SCORE_SCHEMA``.
    verdict
        The sentence of the stack's verdict; empty where there is none.
    notes
        What is missing or cannot be read.
    """
    parts = [html.heading(f"Run {name}", " · ".join(facts))]
    if len(scores):
        parts.append(_score_table(scores))
    if verdict:
        parts.append(html.paragraph(verdict))
    parts += [html.paragraph(html.muted(note)) for note in notes]
    return html.box(*parts)


def _score_table(scores: pl.DataFrame) -> html.Html:
    measured = scores.filter(scores["log_loss"].is_not_null())
    ends = [
        float(value)
        for column in ("log_loss", "low", "high")
        for value in measured[column].drop_nulls()
    ]
    span = (min(ends), max(ends)) if ends else (0.0, 1.0)
    rows = [_score_row(row, span) for row in scores.iter_rows(named=True)]
    headings = ("", "", "log loss", "95% interval", "", "accuracy", "95% interval", "rows")
    return html.table(headings, rows, left=2)


def _score_row(row: dict[str, Any], span: tuple[float, float]) -> list[object]:
    value, low, high = (_nan(row[key]) for key in ("log_loss", "low", "high"))
    kind = "chosen" if row["chosen"] else _KIND[row["kind"]]
    doubt = "" if row["proven"] else ", unproven"
    bar: object = html.interval_bar(value, low, high, span) if value == value else ""
    return [
        html.strong(row["name"]) if row["chosen"] else row["name"],
        html.muted(f"{kind}{doubt}"),
        _number(row["log_loss"]),
        _interval(row),
        bar,
        _number(row["accuracy"]),
        _interval({"low": row["accuracy_low"], "high": row["accuracy_high"]}),
        f"{row['rows']:,}" if row["rows"] is not None else "",
    ]


def _nan(value: float | None) -> float:
    return float("nan") if value is None else value


def _number(value: float | None) -> str:
    return "not measured" if value is None else f"{value:.4f}"


def _interval(row: dict[str, Any]) -> str:
    low, high = row.get("low"), row.get("high")
    return "" if low is None or high is None else f"{low:.4f} to {high:.4f}"


def _gain(gain: dict[str, Any] | None) -> str:
    if not gain or gain.get("mean") is None:
        return ""
    if gain.get("low") is None:
        return signed(gain["mean"])
    return shown(gain)


def _difference(found: dict[str, Any]) -> list[object]:
    if found["conclusion"] == UNMEASURED:
        return [signed(found["mean"]), UNMEASURED]
    kinds = {BETTER: "good", WORSE: "bad"}
    return [shown(found), html.badge(found["conclusion"], kinds.get(found["conclusion"], "open"))]
