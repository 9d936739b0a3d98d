"""Writes the pages that are made from the code: ``cli.md``, ``features.md`` and ``learners.md``.

``--check`` writes nothing and fails where a page is not what the code says.
"""

from __future__ import annotations

import inspect
import json
import re
import sys
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.testing import CliRunner

import ensemble_plugins
from ensemble.cli import cli
from ensemble.plugin.describe import described_parameters, summary
from ensemble.plugin.manager import Manager
from ensemble_features.catalog import markdown_table

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

DOCS = Path(__file__).parent
NOTE = "<!-- Made by `make docs` from the code; edits here are lost. -->\n\n"
LEARNERS_LEAD = """# Learners

What comes with the toolkit; `ensemble learners` lists what is installed beside it. A base learner's
parameters are keys of its `[[learners]]` table, beside `name` and `plugin`; the meta-learner is
named in `[stack]` and its parameters are keys of `[stack.parameters]` ([config](config.md)).
"""


def command_line_page() -> str:
    """Every verb with its help text."""
    context = click.Context(cli)
    names = cli.list_commands(context)
    sections = [f"## `ensemble {name}`\n\n```text\n{_help(name)}```\n" for name in names]
    return NOTE + "# Command line\n\n```text\n" + _help() + "```\n\n" + "\n".join(sections)


def features_page() -> str:
    """Every column of the built-in feature sets."""
    return NOTE + "# Features\n\n" + markdown_table().rstrip() + "\n"


def learners_page() -> str:
    """Every built-in learner and meta-learner with its parameters."""
    # Only our own plugins: the page must not depend on what else is installed.
    manager = Manager({"builtin": ensemble_plugins}, discover=False)
    parts = [LEARNERS_LEAD]
    for registry in (manager.base_learners, manager.meta_learners):
        kinds = {entry.name: registry.get(entry.name) for entry in registry}
        for group in _families(kinds):
            title = registry.kind.capitalize() + ("s" if len(group) > 1 else "")
            parts.append(f"## {title} {_code(group)}\n\n{_learners(group)}")
    return NOTE + "\n".join(parts)


def _help(*arguments: str) -> str:
    result = CliRunner().invoke(
        cli, [*arguments, "--help"], prog_name="ensemble", terminal_width=100
    )
    return result.output


def _families(kinds: dict[str, type]) -> list[dict[str, type]]:
    """Put classes together that have the same parameters, described in the same words."""
    families: dict[str, dict[str, type]] = {}
    for name, kind in kinds.items():
        families.setdefault(str(list(_meanings(kind).items())), {})[name] = kind
    return list(families.values())


def _learners(family: dict[str, type]) -> str:
    """Describe classes: their docstrings, the defaults that differ, one table of parameters."""
    leads = [summary(kind) for kind in family.values()]
    if len(family) > 1:
        leads = [f"- `{name}`: {lead}" for name, lead in zip(family, leads, strict=True)]
    defaults = [_defaults(kind) for kind in family.values()]
    differing = [
        name for name, value in defaults[0].items() if any(d[name] != value for d in defaults)
    ]
    text = _linked("\n".join(leads)) + "\n\n"
    if differing:
        text += _table(
            ["default of", *(_code([name]) for name in family)],
            [[_code([name]), *(each[name] for each in defaults)] for name in differing],
        )
    shared = defaults[0] | dict.fromkeys(differing, "see above")
    rows = [
        [_code(names), _joined([shared[name] for name in names]), _linked(meaning)]
        for names, meaning in _merged(_meanings(next(iter(family.values()))))
    ]
    return text + _table(["parameter", "default", "meaning"], rows).rstrip("\n") + "\n"


def _merged(meanings: dict[str, str]) -> Iterator[tuple[list[str], str]]:
    """Join neighboring parameters that share a description."""
    for meaning, names in groupby(meanings, key=lambda name: meanings[name]):
        yield list(names), meaning


def _joined(values: list[str]) -> str:
    return values[0] if len(set(values)) == 1 else ", ".join(values)


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join("| " + " | ".join(cells) + " |\n" for cells in lines) + "\n"


def _code(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _linked(text: str) -> str:
    """Turn the names of pages, as docstrings have them, into links."""
    return re.sub(
        r"`docs/(\w+)\.md`", lambda page: f"[{page[1].replace('_', ' ')}]({page[1]}.md)", text
    )


def _meanings(kind: type) -> dict[str, str]:
    """Give the description of each parameter of a class, in the order of its signature."""
    return {one.name: one.meaning.replace("|", "\\|") for one in described_parameters(kind)}


def _defaults(kind: type) -> dict[str, str]:
    return {one.name: _default(one.default) for one in described_parameters(kind)}


def _default(value: object) -> str:
    """Write a default as a config would have it; None, which TOML cannot write, as none."""
    if value is inspect.Parameter.empty:
        return "required"
    return "none" if value is None else f"`{json.dumps(value)}`"


PAGES = {"cli.md": command_line_page, "features.md": features_page, "learners.md": learners_page}


def main() -> int:
    """Write or check the pages; gives the exit code."""
    check = "--check" in sys.argv
    stale = []
    for name, make in PAGES.items():
        path, text = DOCS / name, make()
        if check and (not path.exists() or path.read_text(encoding="utf-8") != text):
            stale.append(name)
        elif not check:
            path.write_text(text, encoding="utf-8")
    if stale:
        print(f"stale: {', '.join(stale)}; run `make docs`", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
