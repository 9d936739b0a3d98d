"""From paths to a config's text, and all that is to be said of it."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import polars as pl

from ensemble.config.load import parse_config
from ensemble.errors import DataError
from ensemble.plugin.suggestion import DataSummary
from ensemble.setup.advice import advise, told_time
from ensemble.setup.config_text import config_text
from ensemble.setup.files import LeftOut, Table, find_tables, path_from
from ensemble.setup.groups import find_group_columns, group_lines
from ensemble.setup.machine import find_machine, told_machine
from ensemble.setup.questions import Question
from ensemble.setup.reading import look_at
from ensemble.setup.roles import place
from ensemble.setup.row_tables import sort_row_tables
from ensemble.setup.sources import name_sources

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from ensemble.plugin.suggestion import Machine
    from ensemble.setup.advice import Advice
    from ensemble.setup.look import Look
    from ensemble.setup.questions import Ask
    from ensemble.setup.row_tables import RowTables
    from ensemble.setup.sources import NamedSource

_FOLDS = 5
_PROMPTS_A_FOLD = 4
_MANY = 100
"""Labeled rows from which on it is no chance that none is a tie."""


@dataclass(frozen=True)
class Plan:
    """A config that is to be written.

    Parameters
    ----------
    text
        Of the config.
    sources
        What is read, the target first.
    rows
        Tables without texts.
    learners
        Those that fit, then those that do not.
    left
        What is used for nothing, with the reason.
    todo
        What somebody has to decide in the config.
    notes
        What else there is to say.
    machine
        In words.
    ties
        Whether a battle can end in a tie.
    """

    text: str
    sources: tuple[NamedSource, ...]
    rows: RowTables
    learners: tuple[Advice, ...]
    left: tuple[LeftOut, ...]
    todo: tuple[str, ...]
    notes: tuple[str, ...]
    machine: str
    ties: bool

    def told_minutes(self) -> str:
        """Say how long all learners take that fit."""
        minutes = [one.suggestion.minutes for one in self.learners if one.fits]
        known = [one for one in minutes if one is not None]
        more = "" if len(known) == len(minutes) else ", and those without an estimate"
        return f"{told_time(sum(known))}{more}"


def make_plan(
    paths: Sequence[Path],
    output: Path,
    ask: Ask,
    tell: Callable[[str], None] = lambda _: None,
    machine: Machine | None = None,
) -> Plan:
    """Look at files and the machine, and write the text of a config.

    Parameters
    ----------
    paths
        Files, patterns and directories.
    output
        Where the config will lie; nothing is written here.
    ask
        Answers what files do not tell.
    tell
        Told what is looked at, since large files take their time.
    machine
        What there is to compute with; None finds out.

    Raises
    ------
    DataError
        A path names nothing, or no file has battles with labels.
    """
    machine = machine or find_machine()
    tables, left = find_tables(paths)
    looks = []
    for table in tables:
        tell(f"reading {table.named}")
        looks.append(look_at(table, ask))
    left += [LeftOut(o.table.named, o.reason) for o in looks if o.kind == "refused"]
    sources = _sources(looks, left, ask)
    active = [one for one in sources if one.placed.role != "ignore"]
    left += [LeftOut(o.placed.look.table.named, o.placed.why) for o in sources if o not in active]
    return _completed(active, [o for o in looks if o.kind == "rows"], left, output, machine, ask)


def _sources(looks: Sequence[Look], left: Sequence[LeftOut], ask: Ask) -> list[NamedSource]:
    battles = [one for one in looks if one.kind in ("labeled", "unlabeled", "undecided")]
    try:
        return name_sources(place(battles, ask))
    except DataError as error:
        told = "".join(f"\n  {one.path}: {one.reason}" for one in left)
        raise DataError(error.message + told, where=error.where, hint=error.hint) from error


def _completed(
    sources: Sequence[NamedSource],
    row_looks: Sequence[Look],
    left: list[LeftOut],
    output: Path,
    machine: Machine,
    ask: Ask,
) -> Plan:
    target, test = sources[0], next((o for o in sources if o.placed.role == "test"), None)
    facts = target.placed.look.facts
    test_ids = test.ids() if test else pl.Series("id", [], dtype=pl.String)
    rows = sort_row_tables(row_looks, target.ids(), test_ids)
    forms = [one.form for one in rows.samples]
    form = forms[0] if forms else "probabilities"
    ties = _has_ties(target, forms, ask)
    n_splits = _n_splits(target)
    data = DataSummary(
        target_ids=target.ids(),
        test_ids=test_ids,
        train_rows=sum(one.rows for one in sources if one.placed.role == "train"),
        pretrain_rows=sum(one.rows for one in sources if one.placed.role == "pretrain"),
        prompts=facts.prompts if facts is not None else 0,
        tokens=facts.tokens if facts is not None else (),
        n_splits=n_splits,
        ties=ties,
        tables=rows.tables,
    )
    learners, notes = advise(data, machine)
    used = {file for one in learners for file in one.suggestion.files}
    reason = "no texts, and no learner reads such columns"
    left += rows.left
    left += [LeftOut(Table(o.files).named, reason) for o in rows.tables if not used & {*o.files}]
    samples = (f"a sample submission: {one.why}" for one in rows.samples)
    left += [LeftOut(o.look.table.named, why) for o, why in zip(rows.samples, samples, strict=True)]
    text = config_text(
        directory=output.parent,
        run_dir=_run_dir(sources, output),
        sources=sources,
        n_splits=n_splits,
        groups=_groups(target, n_splits),
        ties=ties,
        form=form,
        machine=machine,
        learners=learners,
        left=left,
    )
    parse_config(tomllib.loads(text), output)  # what is written here is a config
    return Plan(
        text=text,
        sources=tuple(sources),
        rows=rows,
        learners=tuple(learners),
        left=tuple(left),
        todo=tuple(_todo(sources)),
        notes=(*notes, *_notes(sources, test is not None)),
        machine=told_machine(machine),
        ties=ties,
    )


def _groups(target: NamedSource, n_splits: int) -> list[str]:
    loaded = target.placed.look.loaded
    if loaded is None:
        return []
    columns = find_group_columns(loaded.metadata)
    return group_lines(columns, rows=len(loaded.battles), n_splits=n_splits)


def _n_splits(target: NamedSource) -> int:
    """Choose so many folds that each has a few prompts."""
    facts = target.placed.look.facts
    prompts = facts.prompts if facts is not None else _FOLDS * _PROMPTS_A_FOLD
    return max(2, min(_FOLDS, prompts // _PROMPTS_A_FOLD))


def _has_ties(target: NamedSource, forms: Sequence[str], ask: Ask) -> bool:
    """Say whether the task has ties: the target has, or a submission has a column for them."""
    facts = target.placed.look.facts
    if target.placed.look.has_two_shares:
        return False
    if facts is None or facts.shares is None or facts.ties or "probabilities" in forms:
        return True
    if forms or facts.rows >= _MANY:
        return False
    asked = f"none of the {facts.rows:,} battles of the target is a tie. Can there be ties?"
    return ask(Question(asked, ("yes", "no"), "no")) == "yes"


def _run_dir(sources: Sequence[NamedSource], output: Path) -> str:
    """Choose a directory that is not there, and holds nothing that the config reads."""
    name = sources[0].name
    number, place = 2, output.parent / "runs" / name
    files = [file.absolute() for one in sources for file in one.placed.look.table.files]
    while place.exists() or any(file.is_relative_to(place.absolute()) for file in files):
        number, place = number + 1, output.parent / "runs" / f"{name}-{number}"
    return path_from(output.parent, place)


def _todo(sources: Sequence[NamedSource]) -> list[str]:
    undecided = (one.placed.look for one in sources)
    return [f"{o.table.named}: {o.reason}" for o in undecided if o.kind == "undecided"]


def _notes(sources: Sequence[NamedSource], has_test: bool) -> list[str]:
    notes = [
        f"{one.placed.look.table.named}: {note}"
        for one in sources
        for note in (*one.placed.look.notes, *_of_loading(one), *_in_test(one, sources))
    ]
    if not has_test:
        notes.append("there is no test file, so that a run ends without a submission")
    if any(one.placed.role in ("train", "pretrain") and not one.is_comment for one in sources):
        notes.append("`ensemble sources` on the config measures whether other sources help")
    return notes


def _in_test(one: NamedSource, sources: Sequence[NamedSource]) -> list[str]:
    """Say how many battles of a source ask what the test asks too."""
    test = next((o.placed.look.loaded for o in sources if o.placed.role == "test"), None)
    own = one.placed.look.loaded
    if test is None or own is None or one.placed.role == "test":
        return []
    asked = pl.col("prompt").list.join("\n", ignore_nulls=True).alias("asked")
    there = own.battles.select(asked).join(test.battles.select(asked), on="asked", how="semi")
    told = f"{len(there):,} of its {len(own.battles):,} battles have a prompt of the test"
    return [told] if len(there) else []


def _of_loading(one: NamedSource) -> list[str]:
    loaded = one.placed.look.loaded
    told = list(loaded.notes) if loaded is not None else []
    if one.id_prefix:
        told.append(f'others have some of its ids: id_prefix = "{one.id_prefix}" keeps them apart')
    return told
