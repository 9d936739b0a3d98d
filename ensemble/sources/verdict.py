"""From measured effects to a word, a recommendation and a sentence."""

from __future__ import annotations

from typing import Any

from ensemble.evaluation.text import signed
from ensemble.sources.variants import PLAIN

HELPS, HURTS = "helps", "hurts"
NOTHING, UNKNOWN = "no difference shown", "not measured"

_LEAVE_OUT = {
    "treatment": "leave it out",
    "role": "ignore",
    "weight": 1.0,
    "reweight": "none",
    "logit_adjustment": False,
}


def decide(source: str, effect: dict[str, Any]) -> dict[str, Any]:
    """Decide what to do with a source.

    Parameters
    ----------
    source
        Its name.
    effect
        As ``measure_effect`` gives it.

    Returns
    -------
    dict[str, Any]
        ``word``: ``hurts`` where simply mixing it in (``train``) is shown to lose; else ``helps``
        where at least one treatment is shown to gain; else ``no difference shown``. Shown means
        that the simultaneous 95% interval of all treatments lies on one side of 0.
        ``recommended``: the treatment whose interval begins highest above 0, else to leave the
        source out. ``sentence``: both, with the numbers.
    """
    if not effect["measured"]:
        return {
            "word": UNKNOWN,
            "recommended": None,
            "sentence": f"{source}: the effect is not measured: {effect['reason']}.",
        }
    found = [item for item in effect["treatments"] if item["measured"]]
    plain = next((item for item in found if item["name"] == PLAIN), None)
    best = max(found, key=lambda item: float(item["simultaneous"]["low"]))
    gains = best["simultaneous"]["low"] > 0
    hurts = plain is not None and plain["simultaneous"]["high"] < 0
    advice = {key: best[key] for key in _LEAVE_OUT} if gains else dict(_LEAVE_OUT)
    word = HURTS if hurts else HELPS if gains else NOTHING
    return {
        "word": word,
        "recommended": advice,
        "sentence": _sentence(source, word, plain, best if gains else None, effect),
    }


def _sentence(
    source: str,
    word: str,
    plain: dict[str, Any] | None,
    best: dict[str, Any] | None,
    effect: dict[str, Any],
) -> str:
    """Say what a person needs to know before adding the source."""
    parts = [f"{source}: {word}."]
    if plain is not None and is_part(effect):
        parts.append(
            f"{rows_in_words(effect)}, mixed into training as they are, {_verb(plain, 'many')}."
        )
    elif plain is not None:
        parts.append(f"Mixed into training as it is, it {_verb(plain)}.")
    else:
        parts.append("What mixing it in as it is does is not measured.")
    parts.append(_advice(best, plain))
    if is_part(effect):
        parts.append(
            f"This is the effect of {effect['source_rows']:,} rows, not of all "
            f"{effect['usable_rows']:,}, which may be several times as large: ask again without "
            "--rows."
        )
    if "sides" in effect:
        parts.append(sides_in_words(effect["sides"]))
    return " ".join([*parts, _scope(effect)])


def is_part(effect: dict[str, Any]) -> bool:
    """Say whether only some of a source's usable rows were measured."""
    return bool(effect["source_rows"] < effect["usable_rows"])


def rows_in_words(effect: dict[str, Any]) -> str:
    """Say how many of a source's usable rows were measured."""
    rows = f"{effect['source_rows']:,}"
    return f"{rows} of its {effect['usable_rows']:,} usable rows" if is_part(effect) else rows


def sides_in_words(sides: dict[str, Any]) -> str:
    """Say of a one-sided source whether sides drawn by a hash are better than its own."""
    told = "One side of it never wins."
    if sides["compared"] is None:
        return f'{told} It could not be measured with sides = "hash".'
    gain = sides["gain"]
    change = (
        f"the log loss of {sides['compared']} changes by {signed(-gain['mean'])} nats a battle "
        f"(95% {signed(-gain['high'])} to {signed(-gain['low'])})"
    )
    advice = {
        "hash": 'that is better: set sides = "hash"',
        "file": "its sides as they are do better",
        None: "neither is shown to be better",
    }[sides["better"]]
    return f'{told} With sides = "hash" {change}: {advice}.'


def _verb(item: dict[str, Any], number: str = "one") -> str:
    text = _verb_of_one(item)
    if number == "one":
        return text
    verb, _, rest = text.partition(" ")
    return f"{verb.removesuffix('s')} {rest}"


def _verb_of_one(item: dict[str, Any]) -> str:
    ends = item["simultaneous"]
    if ends["low"] > 0:
        return f"lowers the log loss on the target by {_numbers(item, 1)}"
    if ends["high"] < 0:
        return f"raises the log loss on the target by {_numbers(item, -1)}"
    return f"changes the log loss on the target by {_numbers(item, -1)}: not shown to differ from 0"


def _advice(best: dict[str, Any] | None, plain: dict[str, Any] | None) -> str:
    if best is None:
        return "No treatment that was tried is shown to gain: leave it out."
    if plain is not None and best["name"] == plain["name"]:
        return "That is also the treatment that is shown to gain most."
    return f"Best is {_settings(best)}: it lowers the log loss by {_numbers(best, 1)}."


def _settings(item: dict[str, Any]) -> str:
    """Write a treatment as the config has it, defaults left out."""
    parts = [f'role = "{item["role"]}"']
    if item["weight"] != 1:
        parts.append(f"weight = {item['weight']:g}")
    if item["reweight"] != "none":
        parts.append(f'reweight = "{item["reweight"]}"')
    if item["logit_adjustment"]:
        parts.append("logit_adjustment = true")
    return ", ".join(parts)


def _numbers(item: dict[str, Any], sign: int) -> str:
    """Write a gain (``sign`` 1) or a change of the loss (-1) with its simultaneous interval."""
    ends = item["simultaneous"]
    low, high = sorted((sign * ends["low"], sign * ends["high"]))
    mean = sign * item["gain"]["mean"]
    return f"{signed(mean)} nats a battle (95% {signed(low)} to {signed(high)})"


def _scope(effect: dict[str, Any]) -> str:
    """Say what the answer holds for."""
    folds = "all folds" if effect["all_folds"] else f"folds {_listed(effect['folds'])}"
    return (
        f"Measured by {effect['plugin']} on {effect['scored_rows']:,} rows of {folds} "
        f"({effect['clusters']:,} clusters), with {_learned(effect)} of the source and "
        f"no other source; intervals hold for all treatments at once."
    )


def _learned(effect: dict[str, Any]) -> str:
    """Count the rows of the source that folds learn from, and say how many each does."""
    some = f"{effect['source_rows']:,}"
    rows = f"{some} of {effect['usable_rows']:,} usable rows" if is_part(effect) else f"{some} rows"
    least, most = min(effect["rows_by_fold"]), max(effect["rows_by_fold"])
    if least == most == effect["source_rows"]:
        return rows
    each = f"{least:,}" if least == most else f"{least:,} to {most:,}"
    return f"{rows} ({each} in each fold, after the cuts of the plan)"


def _listed(numbers: list[int]) -> str:
    return ", ".join(str(number) for number in numbers)
