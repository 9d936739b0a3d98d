"""The text of a config: what was found in comments, and what to run below it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ensemble.config.toml_lines import toml_lines
from ensemble.errors import printable
from ensemble.setup.files import path_from
from ensemble.setup.machine import told_machine

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ensemble.plugin.suggestion import Machine
    from ensemble.setup.advice import Advice
    from ensemble.setup.files import LeftOut
    from ensemble.setup.sources import NamedSource

_ROLES = {
    "target": "folds and scores are made on it",
    "train": "mixed into training, never scored",
    "pretrain": "learned from first, never scored",
}
_WIDTH = 100
_COLUMN = 34
"""Where comments beside short lines begin."""


def config_text(
    *,
    directory: Path,
    run_dir: str,
    sources: Sequence[NamedSource],
    n_splits: int,
    groups: Sequence[str],
    ties: bool,
    form: str,
    machine: Machine,
    learners: Sequence[Advice],
    left: Sequence[LeftOut],
) -> str:
    """Write a config.

    Parameters
    ----------
    directory
        Where it will lie.
    run_dir
        Where the run goes.
    sources
        The target first, the test last.
    n_splits
        Number of folds.
    groups
        Comments about columns that may join rows.
    ties, form
        What is predicted, and what a submission holds.
    machine
        What there is to compute with.
    learners
        Those that fit, then those that do not.
    left
        What is used for nothing.
    """
    parts = [
        _head(run_dir),
        *(_source(one, directory) for one in sources),
        task_part(ties=ties, form=form),
        [*toml_table("[folds]", {"n_splits": n_splits}), *groups],
        _comments([f"Learners. This machine: {told_machine(machine)}."]),
        *(_learner(one, directory) for one in learners),
        _execution(machine),
        ["[stack]", _beside('choose = "auto"', "the stack is used only where it is shown to win")],
        _left(left),
    ]
    return "\n\n".join("\n".join(part) for part in parts if part) + "\n"


def task_part(*, ties: bool, form: str) -> list[str]:
    """Write what is predicted, where it is not the usual: three classes and their probabilities."""
    settings: dict[str, Any] = {} if ties else {"ties": False}
    if form == "winner":
        settings |= {"metric": "accuracy", "submission": "winner"}
    return toml_table("[task]", settings) if settings else []


def toml_table(head: str, settings: dict[str, Any]) -> list[str]:
    """Write a table of settings."""
    return [head, *toml_lines(settings)]


def _head(run_dir: str) -> list[str]:
    return [
        "# Written by `ensemble init`. Change what you like: docs/config.md lists every key.",
        "# `ensemble check` on this file finds in seconds what would fail; `ensemble run` runs it.",
        "",
        *toml_lines({"run_dir": run_dir, "seed": 42}),
    ]


def _source(one: NamedSource, directory: Path) -> list[str]:
    look = one.placed.look
    told = [look.told()] if look.facts is not None else []
    told += [f"Read as {look.read_as}."] if look.read_as else []
    told += [f"Role {one.placed.role}: {one.placed.why}.", *look.notes]
    settings = {k: v for k, v in look.settings.items() if not _is_chosen(k, look.choices)}
    path = look.table.path_in(directory)
    if one.placed.role == "test":
        settings.pop("on_bad_rows", None)
        lines = toml_table("[test]", {"path": path} | settings)
    else:
        lines = toml_table("[[sources]]", {"name": one.name, "path": path})
        role = f'role = "{one.placed.role}"'
        lines.append(_beside(role, _ROLES.get(one.placed.role, "its rows reach nothing")))
        prefix = {"id_prefix": one.id_prefix} if one.id_prefix else {}
        lines += toml_lines(prefix | settings)
    if look.kind == "undecided":
        lines += _todo(look.reason, look.choices)
    if one.is_comment:
        lines = [f"# {line}" for line in lines]
    return [*_comments(told), *lines]


def _is_chosen(key: str, choices: Iterable[str]) -> bool:
    return any(line.startswith(f"{key} = ") for line in choices)


def _todo(reason: str, choices: Iterable[str]) -> list[str]:
    told = f"TODO: {reason} Check these lines, and take out the # before those that are right:"
    return [*_comments([told]), *(f"# {line}" for line in choices)]


def _learner(one: Advice, directory: Path) -> list[str]:
    said = one.suggestion
    told = [f"{one.name}: {said.note}."] if said.note else []
    told += [] if one.fits else [f"Not used: {said.unfit}."]
    told += [f"Time: {one.told_minutes()}."] if one.told_minutes() else []
    lines = toml_table("[[learners]]", {"name": one.name, "plugin": one.plugin})
    for name, value in said.parameters.items():
        shown = {name: _shown(value, directory)}
        lines.append(_beside(toml_lines(shown)[0], said.comments.get(name, "")))
    if said.unfit is not None:
        lines = [f"# {line}" for line in lines]
    return [*_comments(told), *lines]


def _shown(value: Any, directory: Path) -> Any:
    """Write paths among parameters as the config in a directory has them."""
    if isinstance(value, list | tuple):
        return [_shown(one, directory) for one in value]
    return path_from(directory, value) if isinstance(value, Path) else value


def _execution(machine: Machine) -> list[str]:
    """Write how several GPUs are used, as a comment: one fold on each."""
    devices = [f"cuda:{number}" for number in range(len(machine.gpus))]
    if len(devices) < 2:
        return []
    lines = toml_table("[execution]", {"executor": "processes", "devices": devices})
    told = "Several GPUs: with these lines each fits one fold at a time (docs/machines.md)."
    return [*_comments([told]), *(f"# {line}" for line in lines)]


def _left(left: Sequence[LeftOut]) -> list[str]:
    if not left:
        return []
    return _comments(["Used for nothing:", *(f"- {one.path}: {one.reason}" for one in left)])


def _beside(line: str, comment: str) -> str:
    return f"{line:<{_COLUMN - 2}}  # {_plain(comment)}" if comment else line


def _comments(sentences: Iterable[str]) -> list[str]:
    return [f"# {line}" for sentence in sentences for line in _wrapped(_plain(sentence))]


def _wrapped(text: str) -> list[str]:
    from textwrap import wrap

    return wrap(text, _WIDTH - 2, subsequent_indent="  ", break_on_hyphens=False) or [""]


def _plain(text: str) -> str:
    """Keep what files hold from ending a comment."""
    return printable(" ".join(text.split()))
