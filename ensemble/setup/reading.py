"""What a table is: battles with labels, without, rows that are known by ids alone, or nothing.

Files are recognized and read as ``prepare`` does it; what it refuses decides what is asked.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ensemble.battles.columns import ID_COLUMNS
from ensemble.battles.files.paths import files_of
from ensemble.battles.files.raw import kinds_of
from ensemble.battles.files.read import read_all
from ensemble.battles.labels import LABEL_FAULTS, UNKNOWN_WINNER
from ensemble.battles.schema import LABEL_COLUMNS, TEST_ROLE, TEST_SOURCE, TEXT_COLUMNS
from ensemble.battles.source_files import load_source
from ensemble.config.settings import Source
from ensemble.config.toml_lines import toml_lines
from ensemble.errors import AmbiguousError, DataError
from ensemble.plugin.base import CLASSES
from ensemble.setup.facts import facts_of
from ensemble.setup.labels import (
    ask_column,
    ask_meanings,
    guessed_settings,
    label_columns,
    winner_settings,
)
from ensemble.setup.look import Look, has_two_shares
from ensemble.setup.questions import Question

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ensemble.battles.loading import Loaded
    from ensemble.setup.files import Table
    from ensemble.setup.look import Kind
    from ensemble.setup.questions import Ask

    Settings = dict[str, Any]

_FEW = 0.05
"""Share of rows with an unknown label from which on the label is not understood."""
_LEAVE_OUT, _KEEP_OUT = "leave out these rows", "leave out the file"


def look_at(table: Table, ask: Ask) -> Look:
    """Find out what a table is.

    Parameters
    ----------
    table
        Its files.
    ask
        Answers what the table does not tell.
    """
    try:
        if table.is_whole:
            files_of([str(file) for file in table.files])  # no shard is missing
        columns = _columns(table)
    except DataError as error:
        return Look(table, "refused", reason=_reason(error))
    found = _Reading(table, columns, ask).look()
    return found if found.loaded is None else replace(found, facts=facts_of(found.loaded))


def _columns(table: Table) -> tuple[str, ...]:
    for chunk in read_all(table.files, lambda _: ()):
        if chunk.present:
            return chunk.present
    return ()


def _reason(error: DataError) -> str:
    """Give an error on one line: what is wrong, and the mend."""
    lines = [line.strip() for line in error.message.splitlines()]
    told = " ".join(lines[:2])
    return f"{told} ({error.hint})" if error.hint else told


class _Open(Exception):  # noqa: N818 - a question that nobody has answered, and no failure
    """A question is open.

    Parameters
    ----------
    reason
        What is not known.
    choices
        The lines that settle it.
    """

    def __init__(self, reason: str, choices: tuple[str, ...]) -> None:
        super().__init__(reason)
        self.reason, self.choices = reason, choices


class _Reading:
    """One table on its way to what it is; ``settings`` grow with each answer."""

    def __init__(self, table: Table, columns: tuple[str, ...], ask: Ask) -> None:
        self.table, self.columns, self.ask = table, columns, ask
        self.settings: Settings = {}

    def look(self) -> Look:
        try:
            return self._look()
        except _Open as error:
            return self._found(
                "undecided", loaded=self._bare(), reason=error.reason, choices=error.choices
            )

    def _look(self) -> Look:
        whole = self._attempt("target")
        if not isinstance(whole, DataError):
            return self._found("labeled", loaded=whole)
        part = self._attempt("target", on_bad_rows="drop")
        if not isinstance(part, DataError) and self._is_small_loss(part):
            return self._without_bad_rows(part)
        bare = self._attempt(TEST_ROLE)
        if isinstance(bare, DataError):
            lacks_labels = f"missing: {CLASSES[0]}" in whole.message
            return self._no_battles(bare if lacks_labels else whole)
        if set(CLASSES) <= set(self.columns) or has_two_shares(self.columns):
            return (
                self._found("unlabeled", loaded=bare) if self._is_blank() else self._refused(whole)
            )
        return self._with_meaning(bare, whole)

    def _bare(self) -> Loaded | None:
        """Read the battles without labels, where that can be done unasked."""
        try:
            bare = self._attempt(TEST_ROLE)
        except _Open:
            return None
        return None if isinstance(bare, DataError) else bare

    def _found(self, kind: Kind, **what: Any) -> Look:
        return Look(self.table, kind, self.columns, dict(self.settings), **what)

    def _refused(self, error: DataError) -> Look:
        return self._found("refused", reason=_reason(error))

    def _no_battles(self, error: DataError) -> Look:
        """Tell rows with an id and no text from what cannot be read."""
        texts = {*TEXT_COLUMNS, "conversation_a", "conversation_b"} & set(self.columns)
        if ID_COLUMNS[0] in self.columns and not texts:
            return self._found("rows", reason=_reason(error))
        return self._refused(error)

    def _attempt(self, role: str, **more: Any) -> Loaded | DataError:
        """Read the table, or say why it cannot be; columns that may mean several things are asked.

        Raises
        ------
        _Open
            They were, and nobody answered.
        """
        while True:
            try:
                return self._load(role, **more)
            except AmbiguousError as error:
                if not error.ways:
                    return error
                self._settle(error)
            except DataError as error:
                return error

    def _load(self, role: str, **more: Any) -> Loaded:
        files = [str(file) for file in self.table.files]
        asked = {"name": "x", "path": files[0] if len(files) == 1 else files, "role": "ignore"}
        reading = Source.model_validate(asked | self.settings)
        source = TEST_SOURCE if role == TEST_ROLE else "x"
        return load_source(reading, source, role, **more)

    def _settle(self, error: AmbiguousError) -> None:
        lines = tuple(", ".join(toml_lines(way)) for way in error.ways)
        answer = self.ask(
            Question(f"{self.table.named}: {error.message}. Which?", lines, lines[0], is_safe=False)
        )
        if answer is None:
            raise _Open(error.message, lines)
        self._add(dict(error.ways[lines.index(answer)]))

    def _add(self, more: Settings) -> None:
        for key, value in more.items():
            known = self.settings.get(key)
            both = isinstance(known, dict) and isinstance(value, dict)
            self.settings[key] = known | value if both and known is not None else value

    def _lines(self, column: str, values: Mapping[str, int]) -> tuple[str, ...]:
        """Give the lines that say what a column means, with what is known of other columns."""
        guessed = guessed_settings(column, values)
        columns = self.settings.get("columns", {}) | guessed.pop("columns", {})
        return tuple(toml_lines(({"columns": columns} if columns else {}) | guessed))

    def _is_small_loss(self, part: Loaded) -> bool:
        unknown = sum(row.kind.startswith(LABEL_FAULTS) for row in part.bad_rows)
        return unknown <= _FEW * (len(part.battles) + len(part.bad_rows))

    def _without_bad_rows(self, part: Loaded) -> Look:
        rows = len(part.battles) + len(part.bad_rows)
        told = "; ".join(f"{kind} ({n:,})" for kind, n in kinds_of(part.bad_rows).items())
        text = f"{len(part.bad_rows):,} of {rows:,} rows cannot be used: {told}"
        question = f"{self.table.named}: {text}. What then?"
        answer = self.ask(Question(question, (_LEAVE_OUT, _KEEP_OUT), _LEAVE_OUT))
        if answer != _LEAVE_OUT:
            return self._found("refused", reason=text)
        self._add({"on_bad_rows": "drop"})
        return self._found("labeled", loaded=part, notes=(f"{text}; they are left out",))

    def _is_blank(self) -> bool:
        """Say whether the columns of labels are there, and empty."""
        read = self._attempt("ignore")
        return not isinstance(read, DataError) and bool(
            read.battles[LABEL_COLUMNS[0]].is_null().all()
        )

    def _with_meaning(self, bare: Loaded, error: DataError) -> Look:
        """Find the column of the label, and what its values mean."""
        found = label_columns(self.table.files, self.columns)
        known = self.settings
        usable = {}
        for name, values in found.items():
            # Any meaning will do to see whether the column can be one of labels.
            self.settings = dict(known)
            self._add(winner_settings(name, dict.fromkeys(values, "a")))
            if not isinstance(self._attempt("target", on_bad_rows="drop"), DataError):
                usable[name] = values
        self.settings = known
        if not usable:
            has_labels = found or UNKNOWN_WINNER in error.message
            return self._refused(error) if has_labels else self._found("unlabeled", loaded=bare)
        return self._labeled_by(usable, bare)

    def _labeled_by(self, usable: dict[str, dict[str, int]], bare: Loaded) -> Look:
        column = ask_column(self.table.named, usable, self.ask)
        if column == "":
            return self._found("unlabeled", loaded=bare)
        if column is None:
            raise _Open(
                f"which column is the label: {', '.join(usable)}?",
                tuple(line for name in usable for line in self._lines(name, usable[name])),
            )
        meanings = ask_meanings(self.table.named, column, usable[column], self.ask)
        if meanings is None:
            values = ", ".join(f"{v} ({n:,})" for v, n in usable[column].items())
            raise _Open(
                f"what do the values of {column} mean: {values}?",
                self._lines(column, usable[column]),
            )
        self._add(winner_settings(column, meanings))
        if len(meanings) < len(usable[column]):
            self._add({"on_bad_rows": "drop"})
        loaded = self._attempt("target", on_bad_rows=self.settings.get("on_bad_rows", "error"))
        if isinstance(loaded, DataError):
            return self._refused(loaded)
        return self._found("labeled", loaded=loaded)
