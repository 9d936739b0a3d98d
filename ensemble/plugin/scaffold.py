"""A new plugin, written from templates: it installs, and passes its own test."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import keyword
import re
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ensemble.errors import InputError
from ensemble.plugin.manager import get_manager
from ensemble.storage.json_files import write_text

if TYPE_CHECKING:
    from pathlib import Path

_NAME = re.compile(r"[a-z][a-z0-9]*(?:[-_][a-z0-9]+)*")


@dataclass(frozen=True)
class Kind:
    """A kind of plugin.

    Parameters
    ----------
    hook
        Registers it.
    target
        What is registered, ``{class_name}`` filled in.
    needs
        Distributions that the template imports.
    fragment
        How a config uses it, ``{plugin}`` filled in.
    """

    hook: str
    target: str
    needs: tuple[str, ...]
    fragment: str


KINDS = {
    "base-learner": Kind(
        "register_base_learners",
        "{class_name}",
        ("numpy", "polars", "scipy"),
        '[[learners]]\nname = "{name}"\nplugin = "{plugin}"',
    ),
    "feature-set": Kind(
        "register_feature_sets",
        "FEATURE_SET",
        ("polars",),
        '[[learners]]\nname = "mine"\nplugin = "handcrafted"\nfeatures = ["length", "{plugin}"]',
    ),
    "meta-learner": Kind(
        "register_meta_learners",
        "{class_name}",
        ("numpy", "scipy"),
        '[stack]\nmeta_learner = "{plugin}"',
    ),
    "loader": Kind(
        "register_loaders",
        "load",
        ("polars",),
        '[[sources]]\nname = "mine"\npath = "battles.tsv"\nrole = "target"\nloader = "{plugin}"',
    ),
}


@dataclass(frozen=True)
class NewPlugin:
    """What was written, and what comes next.

    Parameters
    ----------
    files
        All of them.
    commands
        To be called next.
    fragment
        How a config uses the plugin.
    """

    files: tuple[Path, ...]
    commands: tuple[str, ...]
    fragment: str


def new_plugin(
    name: str, directory: Path, *, kind: str = "base-learner", single_file: bool = False
) -> NewPlugin:
    """Write a new plugin.

    Parameters
    ----------
    name
        The name that configs will use: small letters and digits, with ``-`` or ``_`` between.
    directory
        A distribution goes into a directory of its own in it, a single file and its test into it.
    kind
        One of ``KINDS``.
    single_file
        Whether it is one file, which a config names by its path, or a distribution.

    Raises
    ------
    InputError
        The name is none, is taken by something installed, or a file is there already.
    """
    module = name.replace("-", "_")
    _check_name(name, module)
    words = _words(name, module, kind, single_file=single_file)
    home = directory if single_file else directory / name
    texts = _texts(module, kind, words, single_file=single_file)
    if not single_file and home.exists():
        raise InputError(f"{home} is there already", hint="give another name or --directory")
    for file in texts:
        if (home / file).exists():
            raise InputError(f"{home / file} is there already", hint="give another name")
    for file, text in texts.items():
        write_text(home / file, text)
    tests = f"test_{module}.py"
    install = "pip install pytest" if single_file else "pip install -e . pytest"
    # Not `pytest` alone, which may be that of another environment.
    test = f"python -m pytest {tests}" if single_file else "python -m pytest"
    asked = (f"ensemble {verb} {words['plugin']}" for verb in ("check", "learners"))
    files = tuple(home / file for file in texts)
    return NewPlugin(files, (install, test, *asked), words["fragment"])


def _check_name(name: str, module: str) -> None:
    if not _NAME.fullmatch(name):
        near = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-").lstrip("0123456789-")
        raise InputError(
            f'"{name}" cannot be the name of a plugin',
            hint=f'small letters and digits, with - or _ between: "{near or "my-learner"}"',
        )
    if keyword.iskeyword(module) or keyword.issoftkeyword(module):
        raise _taken(name, "a word of Python")
    if module in sys.stdlib_module_names:
        raise _taken(name, "a module of Python's own")
    manager = get_manager()
    for registry in manager.registries.values():
        if name in registry:
            raise _taken(name, f"a {registry.kind} that is installed")
    if importlib.util.find_spec(module) is not None:
        raise _taken(name, "a module that is installed, or lies here")
    if _is_installed(name) or name in manager.found:
        raise _taken(name, "a distribution that is installed")


def _taken(name: str, by: str) -> InputError:
    return InputError(
        f'"{name}" is taken: it is {by}', hint=f'give another name, such as "my-{name}"'
    )


def _is_installed(name: str) -> bool:
    try:
        importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def _words(name: str, module: str, kind: str, *, single_file: bool) -> dict[str, str]:
    """Give what the templates say."""
    of_kind = KINDS[kind]
    parts = re.split("[-_]", name)
    class_name = "".join(part.capitalize() for part in parts)
    target = of_kind.target.format(class_name=class_name)
    plugin = f"{module}.py:{target}" if single_file else name
    needs = ["preference-ensemble", *of_kind.needs]
    return {
        "name": name,
        "module": module,
        "title": " ".join(parts).capitalize(),
        "class_name": class_name,
        "kind_text": kind.replace("-", " ") if kind != "meta-learner" else kind,
        "hook_name": of_kind.hook,
        "target": target,
        "plugin": plugin,
        "dependencies": ", ".join(f'"{one}"' for one in needs),
        "fragment": of_kind.fragment.format(name=name, plugin=plugin),
    }


def _texts(module: str, kind: str, words: dict[str, str], *, single_file: bool) -> dict[str, str]:
    """Fill the templates in; gives texts by relative path."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    loader = PackageLoader("ensemble.plugin", "templates")
    environment = Environment(  # noqa: S701 - Python and TOML, no page
        loader=loader, undefined=StrictUndefined, keep_trailing_newline=True
    )

    def filled(template: str, **more: Any) -> str:
        return environment.get_template(f"{template}.jinja").render(**words, **more)

    own = kind.replace("-", "_")
    hook = "" if single_file else filled("hook")
    more = {
        "hook": hook,
        "hook_import": ", hookimpl" if hook else "",
        "register_import": "\n    from ensemble.plugin.base import Register" if hook else "",
    }
    code = filled(f"{own}.py", **more).rstrip() + "\n"
    test = filled(f"test_{own}.py")
    if single_file:
        return {f"{module}.py": code, f"test_{module}.py": test}
    return {
        "pyproject.toml": filled("pyproject.toml"),
        "README.md": filled("README.md"),
        f"{module}.py": code,
        f"tests/test_{module}.py": test,
    }
