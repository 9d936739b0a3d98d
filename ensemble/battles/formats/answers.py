"""Several answers in one row: a list of ranked or rated ones, or a list and which is the best."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from ensemble.battles.columns import base_id_column
from ensemble.battles.formats.index import Start
from ensemble.battles.formats.layout import Battle, Format, Layout, Sheet, by_row, named
from ensemble.battles.formats.preference import number_of, told_rule
from ensemble.battles.formats.prompts import ambiguous, answer_of, prompt_column, prompt_of
from ensemble.battles.formats.rankings import scores_of_ranking
from ensemble.battles.formats.several import SEVERAL, Answer, battles_of, told_pairs
from ensemble.battles.labels import is_missing
from ensemble.battles.turns import BadCell, list_of

if TYPE_CHECKING:
    from ensemble.battles.formats.layout import FormatOptions, Row

LISTS = ("answers", "completions", "responses", "candidates", "outputs", "generations")
RANKS = ("rank", "ranking", "ranks", "rankings")
SCORES = (
    *("overall_score", "score", "rating", "reward", "helpfulness"),
    *("scores", "ratings", "rewards"),
)
BEST = ("chosen_index", "chosen_idx", "best_index", "better_index", "better_response_id", "choice")
_TEXTS = ("answer", "response", "text", "content", "output", "completion")
_MODELS = ("model", "model_name", "policy")


def recognize(sheet: Sheet) -> Layout | None:
    """Recognize a file by a prompt and one list of answers."""
    lists = sheet.among(LISTS)
    if not lists or sheet.among(("response_a", "conversation_a", "chosen")):
        return None
    prompt = prompt_column(sheet)
    if prompt is None:
        return None
    if len(lists) > 1:
        ways = [{"columns": {"answers": name}} for name in lists]
        raise ambiguous("the list of answers", lists, ways)
    values = _values(sheet)
    base = base_id_column(sheet.present)
    start = Start(values or "", answers=lists[0]) if values in BEST else None
    make = partial(
        _battles,
        prompt=prompt,
        answers=lists[0],
        values=values,
        base=base,
        sheet=sheet,
        start=start,
    )
    used = (base, prompt, lists[0], values, "models" if sheet.has("models") else None)
    columns = tuple(name for name in used if name is not None)
    what = f" with {values}" if values else ", ranked or rated"
    rule = f"{told_pairs(sheet.options)}{told_rule(sheet.options)}"
    told = f"several answers ({lists[0]}{what}): {rule}"
    uses = SEVERAL | ({"ranking"} if values in RANKS else set())
    return Layout(told, columns, by_row(make, columns, start.look if start else None), True, uses)


def _values(sheet: Sheet) -> str | None:
    """Choose the column that ranks, rates or chooses among the answers, where it is beside them."""
    if not sheet.labeled:
        return None
    if sheet.options.score is not None and sheet.has(sheet.options.score):
        return sheet.options.score
    named = sheet.among((*RANKS, *SCORES, *BEST))
    if len(named) > 1:
        raise ambiguous("what ranks the answers", named, [{"score": name} for name in named])
    return named[0] if named else None


def _battles(
    row: Row,
    *,
    prompt: str,
    answers: str,
    values: str | None,
    base: str | None,
    sheet: Sheet,
    start: Start | None,
) -> list[Battle]:
    asked = prompt_of(row[prompt], prompt)
    items = list_of(row[answers], answers, "answers")
    told = _answers(items, answers, sheet, scored=values is None)
    if values is not None:
        told = _valued(told, row[values], values, start, sheet.options)
    models = row.get("models")
    if isinstance(models, list) and len(models) == len(told):
        pairs = zip(told, models, strict=True)
        told = [Answer(a.text, a.score, a.model or m, a.name) for a, m in pairs]
    name = named(row, base)
    decided = values in BEST and sheet.labeled
    return battles_of(asked, told, name, sheet, decided_only=decided)


def _answers(items: list[Any], name: str, sheet: Sheet, *, scored: bool) -> list[Answer]:
    scored = scored and sheet.labeled
    return [_answer(item, f"{name} {at}", sheet, scored) for at, item in enumerate(items, 1)]


def _answer(item: Any, name: str, sheet: Sheet, scored: bool) -> Answer:
    if not isinstance(item, dict) or "role" in item:
        if scored:
            raise BadCell(f"{name} has neither a rank nor a score")
        return Answer(answer_of(item, name))
    key = next((key for key in _TEXTS if key in item), None)
    if key is None:
        raise BadCell(f"{name} has no text: none of {', '.join(_TEXTS)}")
    model = next((item[key] for key in _MODELS if isinstance(item.get(key), str)), None)
    score = _score(item, name, sheet) if scored else None
    return Answer(answer_of(item[key], name), score, model)


def _score(item: dict[str, Any], name: str, sheet: Sheet) -> float:
    """Read a score, or a rank, of which the lowest is the best."""
    wanted = sheet.options.score
    if wanted is not None:
        sign = -1.0 if wanted in RANKS else 1.0
        return sign * number_of(item.get(wanted), f"{wanted} of {name}")
    ranks = [key for key in RANKS if not is_missing(item.get(key))]
    scores = [key for key in SCORES if not is_missing(item.get(key))]
    if not ranks and not scores:
        raise BadCell(f"{name} has neither a rank nor a score")
    if len(ranks) + len(scores) > 1:
        both = ", ".join((*ranks, *scores))
        raise BadCell(f'{name} has several scores, of which score = "..." names one: {both}')
    key = (*ranks, *scores)[0]
    return (-1.0 if ranks else 1.0) * number_of(item[key], f"{key} of {name}")


def _valued(
    answers: list[Answer], cell: Any, name: str, start: Start | None, options: FormatOptions
) -> list[Answer]:
    """Put ranks, scores or the place of the best one beside the answers."""
    if start is not None:
        best = start.place(cell, len(answers))
        return [Answer(a.text, float(at == best), a.model, a.name) for at, a in enumerate(answers)]
    numbers = list_of(cell, name, "numbers")
    if len(numbers) != len(answers):
        raise BadCell(f"{name} holds {len(numbers)} numbers for {len(answers)} answers")
    scores = [number_of(one, f"{name} {at}") for at, one in enumerate(numbers, 1)]
    if name in RANKS:
        scores = scores_of_ranking(scores, name, options.ranking)
    return [Answer(a.text, s, a.model, a.name) for a, s in zip(answers, scores, strict=True)]


ANSWERS = Format(
    "answers", "a prompt and one list of answers with ranks, scores or the best one", recognize
)
