from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from enum import Enum
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import polars as pl
import pytest

from ensemble import errors
from ensemble.plugin.parameters import build, plain_parameters


class Thing:
    def __init__(
        self,
        leaves: int = 31,
        rate: float = 0.1,
        names: Sequence[str] = ("a",),
        pair: tuple[int, int] = (1, 2),
        kind: Literal["x", "y"] = "x",
        file: Path | None = None,
    ) -> None:
        if leaves < 2:
            raise ValueError("leaves must be at least 2")
        self.__dict__.update({k: v for k, v in locals().items() if k != "self"})


class Needs:
    def __init__(self, path: str) -> None:
        self.path = path


def _build(**parameters: Any) -> Any:
    return build(Thing, parameters, where='learner "t"', anchor=Path("/base"))


def test_values_reach_the_constructor() -> None:
    thing = _build(leaves=7, rate=1, names=["b", "c"], pair=[3, 4], kind="y")
    assert (thing.leaves, thing.rate, list(thing.names)) == (7, 1, ["b", "c"])
    assert (thing.pair, thing.kind, thing.file) == ((3, 4), "y", None)


def test_relative_paths_start_at_the_anchor() -> None:
    assert _build(file="oof.csv").file == Path("/base/oof.csv")
    assert _build(file="/else/oof.csv").file == Path("/else/oof.csv")


class Named:
    def __init__(self, model: Path | str = "hub/name") -> None:
        self.model = model


class NamedToo:
    def __init__(self, model: str | Path = "hub/name") -> None:
        self.model = model


@pytest.mark.parametrize("kind", [Named, NamedToo])
def test_what_may_be_a_name_is_a_path_where_there_is_one(kind: type, tmp_path: Path) -> None:
    (tmp_path / "hub").mkdir()

    def build_named(**parameters: str) -> object:
        return build(kind, parameters, where="a test", anchor=tmp_path).model

    assert build_named(model="hub") == tmp_path / "hub"
    assert build_named(model=str(tmp_path / "hub")) == tmp_path / "hub"
    assert build_named(model="hub/name") == build_named() == "hub/name"
    assert build(kind, {"model": "hub/name"}, where="a test").model == "hub/name"


def test_a_path_is_not_taken_from_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here" / "models").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(errors.ConfigError, match="nothing at .*config/models(.|\n)*a test"):
        build(Named, {"model": "models"}, where="a test", anchor=tmp_path / "config")
    assert build(Named, {"model": "models"}, where="a test").model == Path("models")


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"leafs": 7}, 'unknown parameter "leafs": did you mean "leaves"'),
        ({"leaves": "7"}, "parameter \"leaves\": input should be a valid integer, got '7'"),
        ({"leaves": 7.5}, 'parameter "leaves"'),
        ({"leaves": True}, 'parameter "leaves"'),
        ({"kind": "z"}, 'parameter "kind": input should be'),
        ({"names": "abc"}, 'parameter "names"'),
        ({"rate": float("nan")}, 'parameter "rate"'),
        ({"leaves": 1}, "leaves must be at least 2"),
        ({"leafs": 7, "rate": "x"}, '"rate"(.|\n)*"leafs"'),
    ],
)
def test_faults(parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(errors.ConfigError, match=f'{message}(.|\n)*learner "t"'):
        _build(**parameters)


def test_a_missing_parameter_is_named() -> None:
    with pytest.raises(errors.ConfigError, match='parameter "path" is missing'):
        build(Needs, {}, where="here")


class Color(Enum):
    RED = "red"


class Rich:
    def __init__(
        self,
        color: Color = Color.RED,
        words: frozenset[str] = frozenset({"b", "a"}),
        table: Mapping[str, tuple[int, ...]] = MappingProxyType({"x": (1, 2)}),
        path: Path = Path("a/b"),
        *rest: int,
    ) -> None:
        self.color, self.words, self.table, self.path = color, words, table, path


def test_parameters_are_read_back_as_json() -> None:
    plain = plain_parameters(build(Rich, {"color": "red"}, where="here"))
    assert plain == {"color": "red", "words": ["a", "b"], "table": {"x": [1, 2]}, "path": "a/b"}
    assert json.loads(json.dumps(plain)) == plain


@pytest.mark.parametrize("value", [object(), float("nan"), b"x", {("a", "b"): 1}])
def test_a_value_that_is_no_json_is_named(value: Any) -> None:
    rich = Rich(path=value)
    message = r'parameter "path" cannot be written as JSON(.|\n)*Rich(.|\n)*use strings'
    with pytest.raises(errors.PluginError, match=message):
        plain_parameters(rich)


def test_a_parameter_that_is_stored_elsewhere_is_named() -> None:
    class Hides:
        def __init__(self, leaves: int = 3) -> None:
            self._leaves = leaves

    message = r'does not store parameter "leaves" under its own name(.|\n)*self.leaves = leaves'
    with pytest.raises(errors.PluginError, match=message):
        plain_parameters(Hides())


class Explodes:
    def __init__(self, error: str = "key") -> None:
        raise {
            "key": KeyError("weights"),
            "exit": SystemExit(3),
            "panic": pl.exceptions.PanicException("not implemented"),
            "value": ValueError("error must be kind"),
            "empty": ValueError(),
        }[error]


@pytest.mark.parametrize(
    ("error", "message"),
    [
        ("key", "the constructor raised KeyError: 'weights'"),
        ("exit", "the constructor raised SystemExit: 3"),
        ("panic", "the constructor raised PanicException: not implemented"),
        ("value", "^error must be kind"),
        ("empty", "the constructor raised ValueError"),
    ],
)
def test_whatever_a_constructor_raises_is_an_error_of_the_config(error: str, message: str) -> None:
    with pytest.raises(errors.ConfigError, match=f'{message}(.|\n)*learner "t"'):
        build(Explodes, {"error": error}, where='learner "t"')


def test_an_error_that_a_constructor_words_itself_keeps_its_kind() -> None:
    class Lacks:
        def __init__(self) -> None:
            raise errors.DataError("the file of weights is missing")

    with pytest.raises(errors.DataError, match=r"weights is missing\n  where: here"):
        build(Lacks, {}, where="here")
