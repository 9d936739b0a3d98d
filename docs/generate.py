"""Writes the pages that are made from the code: ``cli.md``, ``features.md`` and ``learners.md``.

``--check`` writes nothing and fails where a page is not what the code says.
"""

from __future__ import annotations

import inspect
import json
import re
import sys
from pathlib import Path

import click
from click.testing import CliRunner

import ensemble_plugins
from ensemble.cli import cli
from ensemble.plugin.manager import Manager
from ensemble_features.catalog import markdown_table
from ensemble_plugins.language_model import settings

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
        names = [entry.name for entry in registry]
        parts += [
            f"## {registry.kind.capitalize()} `{n}`\n\n{_learner(registry.get(n))}" for n in names
        ]
    return NOTE + "\n".join(parts)


def _help(*arguments: str) -> str:
    result = CliRunner().invoke(
        cli, [*arguments, "--help"], prog_name="ensemble", terminal_width=100
    )
    return result.output


def _learner(kind: type) -> str:
    """Describe a class: its docstring up to the sections, and a table of its parameters."""
    lead, _ = _parts(kind)
    described: dict[str, str] = {}
    for each in reversed(kind.__mro__):
        described |= _described(each)
    rows = [
        f"| `{name}` | {_default(parameter.default)} | {described[name]} |\n"
        for name, parameter in inspect.signature(kind).parameters.items()
    ]
    return f"{lead}\n\n| parameter | default | |\n|---|---|---|\n{''.join(rows)}"


def _parts(kind: type) -> tuple[str, dict[str, str]]:
    """Give a class's docstring up to the sections, and the sections by title."""
    text = inspect.cleandoc(kind.__doc__ or "").replace("``", "`")
    lead, *sections = re.split(r"^(\w+)\n-+\n", text, flags=re.MULTILINE)
    return lead.strip(), dict(zip(sections[::2], sections[1::2], strict=True))


def _described(kind: type) -> dict[str, str]:
    """Give a class's own descriptions of parameters; "See `Class`." is looked up there."""
    found = _descriptions(_parts(kind)[1].get("Parameters", ""))
    for name, text in found.items():
        if other := re.fullmatch(r"See `(\w+Settings)`\.", text):
            found[name] = _described(getattr(settings, other[1]))[name]
    return found


def _descriptions(section: str) -> dict[str, str]:
    """Read names, which may share a line, and the indented text below them."""
    found = re.findall(r"^(\S.*)\n((?:[ \t].*\n?|\n)+)", section, flags=re.MULTILINE)
    return {
        name: " ".join(text.split()).replace("|", "\\|")
        for names, text in found
        for name in names.split(" : ")[0].split(", ")
    }


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
