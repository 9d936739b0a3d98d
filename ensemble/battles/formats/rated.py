"""One answer a row with its score: pairs of the rows that have the same prompt."""

from __future__ import annotations

from collections import defaultdict
from functools import partial
from typing import TYPE_CHECKING, Any

from ensemble.battles.columns import base_id_column
from ensemble.battles.files.raw import BadRow, Chunk
from ensemble.battles.formats.answers import LISTS, RANKS
from ensemble.battles.formats.layout import (
    Battle,
    Format,
    Layout,
    Sheet,
    named,
    rows_of,
    standard_chunk,
)
from ensemble.battles.formats.preference import number_of, told_rule
from ensemble.battles.formats.prompts import Prompt, ambiguous, answer_of, prompt_column, prompt_of
from ensemble.battles.formats.several import ONE_ANSWER, SEVERAL, Answer, battles_of, told_pairs
from ensemble.battles.turns import BadCell

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    Group = list[tuple[int, Answer]]
    Key = tuple[tuple[str | None, ...], tuple[str | None, ...], str | None]

_ANSWERS = ("response", "answer", "completion", "output", "text")
_SCORES = ("overall_score", "score", "rating", "reward", "helpfulness")


def recognize(sheet: Sheet) -> Layout | None:
    """Recognize a file by a prompt, one answer and one score."""
    answers, scores = sheet.among(_ANSWERS), _scores(sheet)
    if not answers or (not scores and sheet.labeled) or sheet.among(LISTS):
        return None
    prompt = prompt_column(sheet)
    if prompt is None or sheet.among(("response_a", "chosen", "message_tree_id")):
        return None
    if len(answers) > 1:
        ways = [{"columns": {"response": name}} for name in answers]
        raise ambiguous("the answer", answers, ways)
    if len(scores) > 1:
        raise ambiguous("the score", scores, [{"score": name} for name in scores])
    base = next((n for n in ("prompt_id", "question_id") if sheet.has(n)), None)
    model = "model" if sheet.has("model") else None
    score = scores[0] if scores else ""
    used = (base, prompt, answers[0], score or None, model)
    columns = tuple(name for name in used if name is not None)
    own = base_id_column(sheet.present) or ""
    rule = f"{told_pairs(sheet.options)}{told_rule(sheet.options)}"
    return Layout(
        f"rated answers, one a row ({answers[0]}{score and ', '}{score}): {rule}",
        tuple(dict.fromkeys((*columns, *([own] if own else [])))),
        partial(_turning, names=(prompt, answers[0], score), base=base, sheet=sheet),
        one_sided=True,
        uses=SEVERAL,
    )


def _scores(sheet: Sheet) -> list[str]:
    if sheet.options.score is not None:
        return sheet.among((sheet.options.score,))
    return sheet.among((*RANKS, *_SCORES))


def _turning(
    chunks: Iterable[Chunk], *, names: tuple[str, str, str], base: str | None, sheet: Sheet
) -> Iterator[Chunk]:
    """Read all rows, then pair those of a prompt: they may be anywhere in the file."""
    groups: defaultdict[Key, Group] = defaultdict(list)
    origins: list[tuple[str, int]] = []
    metadata: defaultdict[str, list[Any]] = defaultdict(list)
    columns = tuple(name for name in (*names, base, "model") if name)
    for chunk in chunks:
        bad = list(chunk.bad_rows)
        for at, row in enumerate(rows_of(chunk, columns)):
            place = len(origins)
            origins.append((chunk.file, chunk.lines[at]))
            try:
                prompt, answer = _answer(row, names, sheet)
                name = named(row, base)
            except BadCell as error:
                bad.append(BadRow(chunk.file, chunk.lines[at], str(error)))
                continue
            key = (tuple(prompt.asked), tuple(prompt.said), name)
            groups[key].append((place, answer))
        for column, cells in chunk.metadata.items():
            metadata[column] += [None] * (len(origins) - len(cells) - len(metadata[column]))
            metadata[column] += cells
        yield standard_chunk(chunk, [], [], bad)
    gathered = _Gathered(groups, origins, metadata)
    yield from gathered.chunks(sheet)


def _answer(
    row: dict[str, Any], names: tuple[str, str, str], sheet: Sheet
) -> tuple[Prompt, Answer]:
    prompt, answer, score = names
    sign = -1.0 if score in RANKS else 1.0
    told = sign * number_of(row[score], score) if sheet.labeled else None
    found = Answer(answer_of(row[answer], answer), told, row.get("model"))
    return prompt_of(row[prompt], prompt), found


class _Gathered:
    """The answers of a file by prompt, and where each row is from."""

    def __init__(
        self,
        groups: dict[Key, Group],
        origins: list[tuple[str, int]],
        metadata: dict[str, list[Any]],
    ) -> None:
        self.groups, self.origins, self.metadata = groups, origins, metadata

    def chunks(self, sheet: Sheet) -> Iterator[Chunk]:
        """Make the battles, file by file of their first row."""
        by_file: defaultdict[str, list[tuple[int, Battle]]] = defaultdict(list)
        for key, group in self.groups.items():
            if len(group) < 2:
                sheet.notes[ONE_ANSWER] += 1
                continue
            place = group[0][0]
            asked, said, name = key
            prompt = Prompt(list(asked), list(said))
            answers = [answer for _, answer in group]
            by_file[self.origins[place][0]] += [
                (place, battle) for battle in battles_of(prompt, answers, name, sheet)
            ]
        for file, made in by_file.items():
            yield self._chunk(file, made)

    def _chunk(self, file: str, made: list[tuple[int, Battle]]) -> Chunk:
        places = [place for place, _ in made]
        kept = {name: [cells[at] for at in places] for name, cells in self.metadata.items()}
        whole = Chunk((), [self.origins[at][1] for at in places], {}, (), file, kept)
        return standard_chunk(whole, [battle.cells() for _, battle in made], range(len(made)), ())


RATED = Format("rated-rows", "a prompt, a response and a score, one answer a row", recognize)
