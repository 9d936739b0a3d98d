"""What ``ensemble sources`` prints: a table for each question, and a sentence for each source."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.table import Table

from ensemble.evaluation.text import signed
from ensemble.run_dir.console import SafeConsole
from ensemble.sources.verdict import is_part

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_NOT_MEASURED = "not measured"


def show_sources(studies: Sequence[dict[str, Any]]) -> None:
    """Print studies of sources, as ``SourceStudy.to_json`` gives them."""
    console = SafeConsole(highlight=False, soft_wrap=True)
    console.print(_holdings(studies))
    console.print(_overlaps(studies))
    console.print(_shifts(studies))
    for study in studies:
        console.print(_effects(study))
    for study in studies:
        for text in study["warnings"]:
            console.print(f"warning: {study['name']}: {text}.", markup=False)
        console.print(f"{study['verdict']['sentence']}\n", markup=False)


def _holdings(studies: Sequence[dict[str, Any]]) -> Table:
    columns = (
        "source",
        "role",
        "rows",
        "A / B / tie",
        "turns",
        "prompt",
        "response A",
        "languages",
    )
    target = studies[0]["description"]["target"]
    rows = [_holding("(target)", "target", target)]
    rows += [_holding(s["name"], s["role"], s["description"]["source"]) for s in studies]
    return _table("what is there (characters: medians)", columns, rows)


def _holding(name: str, role: str, held: dict[str, Any]) -> tuple[str, ...]:
    shares = held["label_shares"]
    labels = " / ".join(f"{share:.0%}" for share in shares) if shares else "none"
    characters = held["characters"]
    named = list(held["languages"].items())[:3]
    return (
        name,
        role,
        f"{held['rows']:,}",
        labels,
        f"{held['turns']['mean']:.1f}",
        f"{characters['prompt'][1]:,.0f}",
        f"{characters['response_a'][1]:,.0f}",
        ", ".join(f"{language} {share:.0%}" for language, share in named),
    )


def _overlaps(studies: Sequence[dict[str, Any]]) -> Table:
    columns = ("source", "with", "same prompt", "near prompt", "same responses", "any")
    rows = [row for study in studies for row in _overlap(study)]
    return _table("rows that are also elsewhere, and rows that the fold plan cuts", columns, rows)


def _overlap(study: dict[str, Any]) -> Iterable[tuple[str, ...]]:
    found = study["overlap"]
    others = {f"source {name}": counts for name, counts in found["sources"].items()}
    parts = {"target": found["target"], "test": found["test"], "itself": found["itself"], **others}
    name = study["name"]
    for other, counts in parts.items():
        if counts is None:
            yield (name, "test", *["no test set"] * 4)
        elif any(counts.values()) or other in ("target", "test", "itself"):
            kinds = ("same_prompt", "near_prompt", "same_responses", "any")
            yield (name, other, *(f"{counts[kind]:,}" for kind in kinds))
        name = ""
    yield (name, "cut by the plan", "", "", "", f"{found['cut']['rows']:,}")


def _shifts(studies: Sequence[dict[str, Any]]) -> Table:
    columns = ("source", "prompts", "responses", "label shares", "rule", "rule, logits adjusted")
    rows = [(study["name"], *_shift(study["shift"])) for study in studies]
    title = (
        "how far from the target: AUC on text / features; total variation of labels; loss on the "
        "target of a model of the source alone, beyond that of one of the target alone"
    )
    return _table(title, columns, rows)


def _shift(shift: dict[str, Any] | None) -> tuple[str, ...]:
    if shift is None:
        return (_NOT_MEASURED,) * 5
    labels, rule = shift["labels"], shift["rule"]
    gaps = ("gap", "gap_offset")
    return (
        *(_aucs(shift[part]) for part in ("prompts", "responses")),
        f"{labels['total_variation']:.2f}" if labels["measured"] else _NOT_MEASURED,
        *(
            signed(rule["on_target"][gap]["mean"], 3) if rule["measured"] else _NOT_MEASURED
            for gap in gaps
        ),
    )


def _aucs(part: dict[str, Any]) -> str:
    found = (part["text"], part["features"])
    return " / ".join(f"{one['auc']:.2f}" if one["measured"] else _NOT_MEASURED for one in found)


def _effects(study: dict[str, Any]) -> Table:
    effect = study["effect"]
    columns = ("treatment", "log loss", "gain", "95%, all at once", "seeds")
    rows: list[tuple[str, ...]] = []
    if "baseline" in effect:
        base = effect["baseline"]
        rows.append(("target alone", f"{base['log_loss']:.4f}", "", "", str(base["seeds"])))
    rows += [_treatment(item) for item in effect.get("treatments", ())]
    rows += [_hashed(item) for item in effect.get("sides", {}).get("treatments", ())]
    rows += [_point(point) for point in effect.get("curve", ()) if 0 < point["share"] < 1]
    if not rows:
        rows = [("", "", _NOT_MEASURED, effect["reason"], "")]
    part = ""
    if effect["measured"] and is_part(effect):
        part = f" of {effect['source_rows']:,} of {effect['usable_rows']:,} usable rows"
    return _table(f"{study['name']}: effect{part} on the target", columns, rows)


def _treatment(item: dict[str, Any]) -> tuple[str, ...]:
    if not item["measured"]:
        return (item["name"], "", _NOT_MEASURED, item["reason"], "")
    ends = item["simultaneous"]
    return (
        item["name"],
        f"{item['log_loss']:.4f}",
        signed(item["gain"]["mean"]),
        f"{signed(ends['low'])} to {signed(ends['high'])}",
        str(item["seeds"]),
    )


def _hashed(item: dict[str, Any]) -> tuple[str, ...]:
    """Show a treatment of a one-sided source whose sides were drawn by a hash."""
    name, *cells = _treatment(item)
    return (f'{name}, sides = "hash"', *cells)


def _point(point: dict[str, Any]) -> tuple[str, ...]:
    gain = signed(point["gain"]["mean"])
    return (f"train, {point['share']:.0%} of it", f"{point['log_loss']:.4f}", gain, "", "")


def _table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    table = Table(title=title, title_justify="left")
    for place, heading in enumerate(columns):
        first = place == 0
        table.add_column(heading, justify="left" if first else "right", no_wrap=first)
    for row in rows:
        table.add_row(*(cell.replace("[", "\\[") for cell in row))
    return table
