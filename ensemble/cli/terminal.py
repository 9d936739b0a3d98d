"""What verbs print of a run and of a comparison: tables on standard output."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from rich.box import SIMPLE
from rich.markup import escape
from rich.table import Table

from ensemble.config.load import load_run_config
from ensemble.evaluation.text import signed
from ensemble.run_dir.console import SafeConsole
from ensemble.run_dir.layout import REPORT, STACK, SUBMISSION
from ensemble.run_dir.stack_files import read_candidates, read_verdict
from ensemble.submission.holdout import summary_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ensemble.config.settings import Config


def summary(run: Path) -> dict[str, Any]:
    """Gather the outcome of a run: what the table shows and ``--json`` prints."""
    candidates = read_candidates(run / STACK)
    verdict, config = read_verdict(run / STACK), load_run_config(run)
    return {
        "run": str(run),
        "learners": [
            _scores(item) | ({"seeds": item["seeds"]} if "seeds" in item else {})
            for item in candidates["learners"]
        ],
        "not_stacked": _not_stacked(run, config, {one["name"] for one in candidates["learners"]}),
        "candidates": [_scores(item) for item in candidates["candidates"]],
        "chosen": verdict["chosen"],
        "metric": verdict.get("metric", "log_loss"),
        "sentence": verdict["sentence"],
        "left_out": verdict.get("left_out", []),
        "unproven": verdict.get("unproven", {"learners": [], "candidates": []}),
        "class_prior": candidates.get("class_prior"),
        "class_prior_accuracy": candidates.get("class_prior_accuracy"),
        "doubts": candidates.get("doubts", []),
        "rows_scored": candidates["rows_scored"],
        "rows_missing": candidates["rows_missing"],
        "missing_by_learner": candidates.get("missing_by_learner", {}),
        "ordered": config.folds.scheme == "time",
        "holdout": summary_of(run, config),
        "report": str(run / REPORT),
        "submission": str(run / SUBMISSION) if (run / SUBMISSION).exists() else None,
    }


def _not_stacked(run: Path, config: Config, stacked: set[str]) -> list[dict[str, Any]]:
    """Score the learners that take no part in the stack, on the rows that they have predicted."""
    if {learner.name for learner in config.learners} <= stacked:
        return []
    from ensemble.api import Run
    from ensemble.errors import EnsembleError

    try:
        scores = Run(run).scores().to_dicts()
    except EnsembleError:  # a learner that failed, say, has folds of former settings
        return []
    keys = ("name", "log_loss", "low", "high", "rows", "folds")
    return [
        {key: one[key] for key in keys}
        for one in scores
        if one["kind"] == "learner" and one["name"] not in stacked
    ]


def show_summary(outcome: dict[str, Any]) -> None:
    """Print the outcome of a run as a table on standard output."""
    unproven = outcome["unproven"]
    # Of predictions from outside nobody knows whether the battles were held out from them.
    kind = (
        "target battles; ? marks what is unproven" if unproven["learners"] else "held-out battles"
    )
    by = " (by which candidates are compared)" if outcome["metric"] == "accuracy" else ""
    table = Table(title=f"accuracy{by} and log loss on {outcome['rows_scored']:,} {kind}")
    table.add_column("")
    for heading in ("log loss, 95% interval", "accuracy, 95% interval"):
        table.add_column(heading, justify="right")
    if outcome["class_prior"] is not None:
        accuracy = outcome["class_prior_accuracy"]
        share = "" if accuracy is None else f"{accuracy:.4f}"
        table.add_row("class prior", f"{outcome['class_prior']:.4f}", share)
        table.add_section()
    for item in outcome["learners"]:
        doubt = " ?" if item["name"] in unproven["learners"] else ""
        table.add_row(f"{_named(item)}{doubt}", *_cells(item))
    table.add_section()
    for item in outcome["candidates"]:
        mark = " ?" if item["name"] in unproven["candidates"] else ""
        mark += " <- chosen" if item["name"] == outcome["chosen"] else ""
        table.add_row(f"{item['name']}{mark}", *_cells(item))
    console = SafeConsole(highlight=False, soft_wrap=True)
    console.print(table)
    console.print(outcome["sentence"], markup=False)
    for doubt in outcome["doubts"]:
        console.print(f"warning: {doubt}", markup=False)
    for one in outcome["not_stacked"]:
        console.print(_told_apart(one), markup=False)
    if outcome["rows_missing"]:
        console.print(_unscored(outcome), markup=False)
    if outcome["holdout"]:
        for told in (outcome["holdout"], *outcome["holdout"]["soups"]):
            console.print(told["sentence"], markup=False)
    for key in ("submission", "report"):
        if outcome[key]:
            console.print(f"{key}: {outcome[key]}", markup=False)


def _told_apart(one: dict[str, Any]) -> str:
    """Say how good a learner is that takes no part in the stack."""
    score = _score({"mean": one["log_loss"], "low": one["low"], "high": one["high"]})
    folds = f"{one['folds']} fold{'s' * (one['folds'] != 1)}"
    return f"{one['name']}, not in the stack: log loss {score} on {one['rows']:,} rows of {folds}"


def _unscored(outcome: dict[str, Any]) -> str:
    """Say how many rows no candidate is scored on, and which learners lack how many."""
    lacking = [
        f"{name} has no prediction of {n:,}"
        for name, n in outcome.get("missing_by_learner", {}).items()
    ]
    no_one = "no fold, or no stack of earlier ones," if outcome["ordered"] else "no fold"
    why = ", ".join(lacking) or f"{no_one} has predicted them"
    return f"{outcome['rows_missing']:,} rows are not scored: {why}"


def _named(item: dict[str, Any]) -> str:
    """Name a learner, and say how far its seeds are apart where it has several."""
    seeds = item.get("seeds")
    return f"{item['name']} ({seeds['n']} seeds, sd {seeds['sd']:.4f})" if seeds else item["name"]


def show_comparison(outcome: dict[str, Any]) -> None:
    """Print a comparison on standard output: all rows, then slices candidate by candidate."""
    console = SafeConsole(highlight=False, soft_wrap=True)
    console.print(_overall_table(outcome))
    for name in outcome["overall"]["differences"] if outcome["slices"] else ():
        console.print(_slice_table(outcome, name))
    for sentence in outcome["sentences"]:
        console.print(sentence, markup=False)
    for by, value in outcome["uniform"].items():
        console.print(f"Not sliced by {by}: all rows have {value}.", markup=False)
    console.print(
        f"stored: {outcome['stored']} (`ensemble report RUN` shows it)"
        if outcome["stored"]
        else f"not stored: {outcome['not_stored']}",
        markup=False,
    )


def _overall_table(outcome: dict[str, Any]) -> Table:
    whole = outcome["overall"]
    table = _table(
        f"log loss on {outcome['rows']:,} battles that all have predicted",
        ("", "accuracy", "log loss", f"minus {outcome['reference']}", ""),
    )
    for name, loss in whole["losses"].items():
        cells = _difference(whole, name) if name in whole["differences"] else ("", "")
        both = (outcome["accuracies"][name], loss)
        table.add_row(escape(name), *(_with_ends(one, "{:.4f}".format) for one in both), *cells)
    return table


def _slice_table(outcome: dict[str, Any], name: str) -> Table:
    title = f"log loss of {name} minus that of {outcome['reference']}"
    table = _table(title, ("", "rows", "clusters", "difference", ""))
    by = None
    for one in outcome["slices"]:
        if by != one["by"]:
            by = one["by"]
            table.add_section()
            table.add_row(escape(f"by {by}"))
        size = f"{one['rows']:,}", f"{one['clusters']:,}"
        table.add_row(escape(f"  {one['value']}"), *size, *_difference(one, name))
    return table


def _table(title: str, headings: tuple[str, ...]) -> Table:
    """Make a table where room is taken from the names, never from the numbers."""
    table = Table(title=escape(title), box=SIMPLE, title_justify="left", pad_edge=False)
    for place, heading in enumerate(headings):
        numbers = place not in (0, len(headings) - 1)
        side: Literal["right", "left"] = "right" if numbers else "left"
        table.add_column(escape(heading), justify=side, no_wrap=place > 0)
    return table


def _difference(part: dict[str, Any], name: str) -> tuple[str, str]:
    """Write a difference with its interval, and what it says."""
    if part["differences"] is None:
        return "", "not measured"
    found = part["differences"][name]
    return _with_ends(found, signed), found["conclusion"].replace(
        "no difference shown", "not shown"
    )


def _with_ends(found: dict[str, Any], write: Callable[[float], str]) -> str:
    mean = write(found["mean"])
    if found["low"] is None:
        return mean
    return escape(f"{mean} [{write(found['low'])}, {write(found['high'])}]")


def _scores(item: dict[str, Any]) -> dict[str, Any]:
    shown = ("name", "log_loss", "low", "high", "accuracy")
    return {key: item[key] for key in shown if key in item}


def _cells(item: dict[str, Any]) -> tuple[str, str]:
    loss = {"mean": item["log_loss"], "low": item["low"], "high": item["high"]}
    accuracy = item.get("accuracy")
    return _score(loss), "" if accuracy is None else _score(accuracy)


def _score(found: dict[str, Any]) -> str:
    if found["low"] is None:
        return f"{found['mean']:.4f} small sample"
    return _with_ends(found, "{:.4f}".format)


def show_offers(offers: list[dict[str, str]]) -> None:
    """Print what became of the fits of other runs."""
    table = Table(box=SIMPLE, title="fits of other runs" if offers else "there are no fits")
    for name in ("run", "learner", "fit", "outcome", "reason"):
        table.add_column(name, overflow="fold")
    for offer in offers:
        table.add_row(*(escape(offer[name]) for name in offer))
    SafeConsole().print(table)
