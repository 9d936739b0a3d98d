"""What a plugin's class says of its parameters: names, types, defaults, and its docstring."""

from __future__ import annotations

import inspect
import re
import sys
from typing import TYPE_CHECKING, Any, NamedTuple

from ensemble.plugin.parameters import constructor_parameters

if TYPE_CHECKING:
    from collections.abc import Callable


class ParameterText(NamedTuple):
    """One parameter as a reader is told of it.

    Parameters
    ----------
    name
        A key of a config.
    type
        As the annotation says it; empty where there is none.
    default
        Its value; ``inspect.Parameter.empty`` where it has to be given.
    meaning
        What the docstring says; empty where it says nothing.
    """

    name: str
    type: str
    default: Any
    meaning: str


def described_parameters(kind: Callable[..., Any]) -> list[ParameterText]:
    """Describe the parameters of a class, in the order of its constructor, or of a function.

    Docstrings are read as numpydoc has them, those of classes that it is derived from too.
    """
    meanings: dict[str, str] = {}
    for each in reversed(kind.__mro__) if isinstance(kind, type) else (kind,):
        meanings |= _meanings_of(each)
    return [
        ParameterText(name, _type(one), one.default, meanings.get(name, ""))
        for name, one in constructor_parameters(kind).items()
    ]


def summary(kind: object) -> str:
    """Give the text of a class's docstring above its sections."""
    return _parts(kind)[0]


def _type(parameter: inspect.Parameter) -> str:
    said = parameter.annotation
    if said is inspect.Parameter.empty:
        return ""
    return said if isinstance(said, str) else inspect.formatannotation(said)


def _parts(kind: object) -> tuple[str, dict[str, str]]:
    """Give a docstring up to the sections, and the sections by title."""
    own = vars(kind).get("__doc__") if isinstance(kind, type) else getattr(kind, "__doc__", None)
    text = inspect.cleandoc(str(own or "")).replace("``", "`")
    lead, *sections = re.split(r"^(\w+)\n-+\n", text, flags=re.MULTILINE)
    return lead.strip(), dict(zip(sections[::2], sections[1::2], strict=True))


def _meanings_of(kind: Callable[..., Any]) -> dict[str, str]:
    """Give a class's own descriptions of parameters; "See `Class`." is looked up there."""
    found = _descriptions(_parts(kind)[1].get("Parameters", ""))
    for name, text in found.items():
        if other := re.fullmatch(r"See `(\w+)`\.", text):
            named = _class_beside(kind, other[1])
            found[name] = _meanings_of(named).get(name, text) if named else text
    return found


def _class_beside(kind: Callable[..., Any], name: str) -> type | None:
    """Find a class of that name in the package of another one."""
    top = kind.__module__.partition(".")[0]
    for module in [one for key, one in sys.modules.items() if key.partition(".")[0] == top]:
        if isinstance(found := vars(module).get(name), type):
            return found
    return None


def _descriptions(section: str) -> dict[str, str]:
    """Read names, which may share a line, and the indented text below them."""
    found = re.findall(r"^(\S.*)\n((?:[ \t].*\n?|\n)+)", section, flags=re.MULTILINE)
    return {
        name: " ".join(text.split())
        for names, text in found
        for name in names.split(" : ")[0].split(", ")
    }
