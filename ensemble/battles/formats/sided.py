"""Two answers in columns of their own, and which is better: a number, a word, or two scores."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from ensemble.battles.columns import MODEL_COLUMNS, base_id_column
from ensemble.battles.formats.answers import BEST
from ensemble.battles.formats.index import Start
from ensemble.battles.formats.layout import Battle, Format, Layout, Sheet, by_row, named
from ensemble.battles.formats.preference import label_of_difference, number_of, told_rule
from ensemble.battles.formats.prompts import ambiguous, prompt_column, three_texts
from ensemble.battles.labels import WINNER_COLUMN, is_missing, spelled, winner_among, winner_of
from ensemble.battles.schema import TEXT_COLUMNS
from ensemble.battles.turns import BadCell
from ensemble.errors import DataError
from ensemble.plugin.base import CLASSES

if TYPE_CHECKING:
    from collections.abc import Callable

    from ensemble.battles.files.raw import Chunk
    from ensemble.battles.formats.layout import Row
    from ensemble.battles.labels import Label

    LabelReader = Callable[[Row], Label | None]

_STEMS = ("response", "answer", "output", "completion", "candidate", "reply", "summary")
_ENDS = (("0", "1"), ("1", "2"), ("a", "b"), ("A", "B"), ("left", "right"), ("first", "second"))
_THIRD = {"0": "2", "1": "3", "a": "c", "A": "C", "first": "third"}
_STRENGTHS = ("preference_strength", "overall_preference")
_WORDS = ("choice", "label", "labels", "preference", "preferred", "better", "verdict", "vote")
_INDEXES = (
    *(name for name in BEST if name != "choice"),
    "better_response",
    "preferred_index",
    "preferred_response",
)
_SCORES = (
    *("score", "scores", "rating", "reward", "overall_score", "helpfulness"),
    *("{stem}{gap}{end}{gap}score", "{stem}{gap}{end}{gap}rating", "{stem}{gap}score"),
)


@dataclass(frozen=True)
class _Two:
    """The two columns of answers: ``stem``, ``gap`` and the ends that tell the sides apart."""

    stem: str
    gap: str
    ends: tuple[str, str]

    @property
    def names(self) -> tuple[str, str]:
        first, second = self.ends
        return f"{self.stem}{self.gap}{first}", f"{self.stem}{self.gap}{second}"


def recognize(sheet: Sheet) -> Layout | None:
    """Recognize a file by two columns of answers that differ in their ends alone, and a label."""
    pairs = answer_pairs(sheet)
    if not pairs or _is_battles(sheet, pairs) or (prompt := prompt_column(sheet)) is None:
        return None
    if len(pairs) > 1:
        ways = [{"columns": dict(zip(TEXT_COLUMNS[1:], two.names, strict=True))} for two in pairs]
        raise ambiguous("the answers", [name for two in pairs for name in two.names], ways, _MAP)
    two = pairs[0]
    _refuse_third(sheet, two)
    reader, told, used, look = _label(sheet, two)
    if reader is None and sheet.required:
        return None
    base = base_id_column(sheet.present)
    models = _models(sheet, two)
    make = partial(_battle, prompt=prompt, two=two, label=reader, base=base, models=models)
    columns = tuple(dict.fromkeys(n for n in (base, prompt, *two.names, *used, *models) if n))
    told = f"two answers ({', '.join(two.names)}){told}"
    return Layout(told, columns, by_row(make, columns, look), uses=_uses(sheet, two, used))


def _uses(sheet: Sheet, two: _Two, used: tuple[str, ...]) -> frozenset[str]:
    """Name the options that the label's columns leave something to do."""
    if used and used[0] in (*_STRENGTHS, *_score_columns(sheet, two)):
        return frozenset({"winner", "tie_below", "temperature"})
    return frozenset({"winner"} if used else ())


_MAP = 'columns = { response_a = "...", response_b = "..." }'


def answer_pairs(sheet: Sheet) -> list[_Two]:
    """List the pairs of columns that may hold two answers."""
    two = (_Two(stem, gap, ends) for stem in _STEMS for gap in ("_", "") for ends in _ENDS)
    return [one for one in two if sheet.has(*one.names)]


def _is_battles(sheet: Sheet, pairs: list[_Two]) -> bool:
    """Say whether the answers are those of the common form, whose labels are read as such."""
    own = [one.names for one in pairs] == [TEXT_COLUMNS[1:]]
    return own and (bool(sheet.among((WINNER_COLUMN, *CLASSES))) or not sheet.required)


def _refuse_third(sheet: Sheet, two: _Two) -> None:
    third = f"{two.stem}{two.gap}{_THIRD.get(two.ends[0], '?')}"
    if sheet.has(third):
        raise DataError(
            f"there are more than two answers: {', '.join(two.names)}, {third}",
            hint=f"choose two of them: {_MAP}",
        )


def _models(sheet: Sheet, two: _Two) -> tuple[str, ...]:
    own = tuple(f"model{two.gap}{end}" for end in two.ends)
    return next((names for names in (own, MODEL_COLUMNS) if sheet.has(*names)), ())


def _label(
    sheet: Sheet, two: _Two
) -> tuple[LabelReader | None, str, tuple[str, ...], Callable[[Any], None] | None]:
    """Choose what says which answer is better: its reader, words for it, columns, a look ahead."""
    if not sheet.labeled:
        return None, "", (), None
    scores = _score_columns(sheet, two)
    options = sheet.options
    ruled = options.tie_below is not None or options.temperature is not None
    kinds = [sheet.among(kind) for kind in ((WINNER_COLUMN,), _INDEXES, _STRENGTHS, _WORDS)]
    named = kinds[0] or [name for kind in kinds[1:] for name in kind]
    if len(named) > 1:
        raise ambiguous("the label", named, [{"columns": {WINNER_COLUMN: n}} for n in named])
    if scores and (ruled or not named):
        told = f" and their scores ({', '.join(scores)}){told_rule(options)}"
        return partial(_by_scores, names=scores, sheet=sheet), told, scores, None
    if not named:
        return None, "", (), None
    return _named_label(sheet, two, named[0])


def _named_label(
    sheet: Sheet, two: _Two, name: str
) -> tuple[LabelReader, str, tuple[str, ...], Callable[[Any], None] | None]:
    if sheet.options.winner:
        reader = partial(_by_map, name=name, sheet=sheet)
        return reader, f" and {name}, by `winner`", (name,), None
    if name in _STRENGTHS:
        rule = f" and {name}: below 0 the first is better{told_rule(sheet.options)}"
        look = _Strengths(name).look
        return partial(_by_strength, name=name, sheet=sheet), rule, (name,), look
    if name in _INDEXES:
        start = Start(name, 0 if two.ends == ("0", "1") else None)
        return partial(_by_index, start=start), f" and {name}", (name,), start.look
    models = _models(sheet, two)
    return partial(_by_word, name=name, two=two, models=models), f" and {name}", (name,), None


class _Strengths:
    """By how much one of two answers is better: a column that is below 0 somewhere.

    Parameters
    ----------
    name
        The column.
    """

    def __init__(self, name: str) -> None:
        self.name, self.is_signed = name, False

    def look(self, chunk: Chunk) -> None:
        """Refuse strengths not yet seen below 0: they may count from 1, with the middle elsewhere.

        Raises
        ------
        DataError
            Those of the file so far differ, and none is below 0.
        """
        values = []
        for cell in chunk.columns.get(self.name, ()):
            with suppress(BadCell):  # its row says so
                values.append(number_of(cell, self.name))
        self.is_signed |= min(values, default=0.0) < 0
        if len(set(values)) > 1 and not self.is_signed:
            raise DataError(
                f"{self.name} is never below 0, from {min(values):g} to {max(values):g}: which "
                "answer is better at which value?",
                where=chunk.file,
                hint='say it: winner = { "1" = "a", "2" = "tie", "3" = "b" }, with all values',
            )


def _score_columns(sheet: Sheet, two: _Two) -> tuple[str, ...]:
    found = []
    for form in _SCORES:
        stem = form if "{" not in form else None
        names = tuple(
            f"{stem}{two.gap}{end}" if stem else _filled(form, two, end) for end in two.ends
        )
        if names[0] != names[1] and sheet.has(*names):
            found.append(names)
    if len(found) > 1:
        listed = [name for names in found for name in names]
        raise ambiguous("the scores", listed, (), 'columns = { winner = "..." }')
    return found[0] if found else ()


def _filled(form: str, two: _Two, end: str) -> str:
    return form.format(stem=two.stem, gap=two.gap, end=end)


def _battle(
    row: Row,
    *,
    prompt: str,
    two: _Two,
    label: LabelReader | None,
    base: str | None,
    models: tuple[str, ...],
) -> list[Battle]:
    one, other = two.names
    texts = three_texts(row[prompt], row[one], row[other], (prompt, one, other))
    names = (row[models[0]], row[models[1]]) if models else (None, None)
    return [Battle(*texts, label(row) if label else None, names, named(row, base))]


def _by_scores(row: Row, *, names: tuple[str, ...], sheet: Sheet) -> Label | None:
    if all(is_missing(row[name]) for name in names):
        return None
    first, second = (number_of(row[name], name) for name in names)
    return label_of_difference(first - second, sheet.options)


def _by_strength(row: Row, *, name: str, sheet: Sheet) -> Label | None:
    if is_missing(row[name]):
        return None
    return label_of_difference(-number_of(row[name], name), sheet.options)


def _by_index(row: Row, *, start: Start) -> Label | None:
    if is_missing(row[start.name]):
        return None
    return (1.0, 0.0, 0.0) if start.place(row[start.name], 2) == 0 else (0.0, 1.0, 0.0)


def _by_map(row: Row, *, name: str, sheet: Sheet) -> Label | None:
    return winner_of(row[name], sheet.options.winner)


def _by_word(row: Row, *, name: str, two: _Two, models: tuple[str, ...]) -> Label | None:
    """Read a word: the name of a column of answers, of a model, or what everyone calls the two."""
    value = spelled(row[name])
    for column, label in zip(two.names, ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0)), strict=True):
        if value.lower() == column.lower():
            return label
    try:
        return winner_among(row[name], [row[one] for one in models])
    except BadCell as error:
        reason = str(error).partition(";")[0]
        raise BadCell(f"{reason} in {name}; say what it means with `winner`") from error


SIDED = Format(
    "two-answers", "a prompt, response_1 and response_2 (or alike), and which is better", recognize
)
