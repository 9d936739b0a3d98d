"""What single functions and values are, told as JSON: texts, byte code, names, plain values."""

from __future__ import annotations

import dataclasses
import dis
import hashlib
import inspect
import re
import reprlib
import tokenize
from pathlib import Path
from types import BuiltinFunctionType, CodeType, FunctionType
from typing import Any

import numpy as np

from ensemble.plugin.modules import digest_of, lines_of, place_of
from ensemble.storage.hashing import fingerprint

GENERATED = "<string>"
"""What the file of code is called that was made from a string."""
_WRITTEN_BY_DATACLASS = "__create_fn__."
_OF_EVERY_DATACLASS = frozenset({"_replace", "_dataclass_getstate", "_dataclass_setstate"})


def function_text(function: FunctionType, module: str) -> str:
    """Name the text of a function, or its bytes where there is no text."""
    code, place = function.__code__, place_of(module)
    try:
        if place is not None and Path(code.co_filename).resolve() == place:
            text = "".join(inspect.getblock(lines_of(module)[code.co_firstlineno - 1 :]))
        else:
            text = text_of_code(code)
        return digest_of(inspect.cleandoc(text).encode("utf-8", "surrogateescape"))
    except (OSError, TypeError, IndexError, SyntaxError, tokenize.TokenError):
        return _code_digest(code)


def text_of_code(code: CodeType) -> str:
    """Give the text that code was made from; an ``OSError`` where nobody has it.

    All that ``exec`` makes is called "<string>", and so is what ``python -c`` runs: Python 3.13 has
    the text of that for any of them.
    """
    if code.co_filename == GENERATED:
        raise OSError("what was made from a string has no text of its own")
    return inspect.getsource(code)


def _code_digest(code: CodeType) -> str:
    constants = [
        _code_digest(c) if isinstance(c, CodeType) else _constant(c) for c in code.co_consts
    ]
    return fingerprint([code.co_code.hex(), constants, list(code.co_names)])


def _constant(value: object) -> Any:
    if isinstance(value, frozenset):
        return sorted(map(repr, value))
    return [_constant(item) for item in value] if isinstance(value, tuple) else repr(value)


def is_of_dataclass(kind: type, value: object) -> bool:
    """Say whether ``dataclass`` has put a function into a class: its own, or one that it writes."""
    if not isinstance(value, FunctionType) or not dataclasses.is_dataclass(kind):
        return False
    home = value.__globals__
    inner: Any = value
    if home is vars(dataclasses) or home is vars(reprlib):
        if value.__name__ in _OF_EVERY_DATACLASS:
            return True
        inner = inspect.unwrap(value)  # what it has written, in a guard against endless texts
    return isinstance(inner, FunctionType) and inner.__code__.co_qualname.startswith(
        _WRITTEN_BY_DATACLASS
    )


def names_in(code: CodeType) -> frozenset[str]:
    """Names that code refers to: globals and attributes, of functions inside it too."""
    return frozenset(code.co_names).union(*map(names_in, _inner(code)))


def set_in(code: CodeType) -> frozenset[str]:
    """Names of globals that code sets: what they stand for while it works is no code."""
    own = {i.argval for i in dis.get_instructions(code) if i.opname == "STORE_GLOBAL"}
    return frozenset(own).union(*map(set_in, _inner(code)))


def imported_within(code: CodeType) -> frozenset[str]:
    """Names of modules, some of which may be none, that code imports when it is called."""
    found, base = set[str](), ""
    for instruction in dis.get_instructions(code):
        if instruction.opname == "IMPORT_NAME":
            base = str(instruction.argval)
            found.add(base)
        elif instruction.opname == "IMPORT_FROM":
            found.add(f"{base}.{instruction.argval}")
    return frozenset(found).union(*map(imported_within, _inner(code)))


def _inner(code: CodeType) -> list[CodeType]:
    return [constant for constant in code.co_consts if isinstance(constant, CodeType)]


def cell_content(cell: Any) -> object:
    """Give what a cell of a closure holds; None where it is empty."""
    try:
        return cell.cell_contents
    except ValueError:
        return None


def plain_value(value: object) -> Any:
    """Describe what has a text of its own; None for anything else."""
    if value is None or isinstance(value, bool | int | float | complex | str | range):
        return repr(value)
    if isinstance(value, bytes | bytearray):  # tables and models may say all of it in one piece
        return [type(value).__name__, hashlib.sha256(value).hexdigest()]
    if isinstance(value, np.ndarray):
        if value.dtype.hasobject:  # its bytes are addresses
            return None
        content = hashlib.sha256(np.ascontiguousarray(value).tobytes()).hexdigest()
        return [str(value.dtype), list(value.shape), content]
    if isinstance(value, np.generic):
        return [str(value.dtype), repr(value.item())]
    if hasattr(value, "detach") and (numbers := _numbers_of(value)) is not None:
        return ["tensor", str(getattr(value, "dtype", "")), plain_value(numbers)]
    if isinstance(value, re.Pattern):
        return [repr(value.pattern), value.flags]
    return f"builtin {value.__qualname__}" if isinstance(value, BuiltinFunctionType) else None


def _numbers_of(tensor: Any) -> np.ndarray[Any, Any] | None:
    """Give what a tensor holds; None of what only looks like one, or has no numbers here."""
    try:
        held = tensor.detach().cpu()
        found = (held.double() if held.is_floating_point() else held).numpy()
    except Exception:  # another library's, or of a kind that NumPy knows no numbers of
        return None
    return found if isinstance(found, np.ndarray) else None
