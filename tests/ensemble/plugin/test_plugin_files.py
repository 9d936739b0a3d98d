from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from ensemble.config.plugin_files import short_name, short_names, split_reference
from ensemble.errors import ConfigError
from ensemble.once import one_verb
from ensemble.plugin.code import code_digest
from ensemble.plugin.files import load_file
from ensemble.plugin.fit_code import fit_digest
from ensemble.plugin.manager import Manager

LEARNER = """
import json
import numpy as np
from ensemble import BaseLearner
{imports}

class MyModel(BaseLearner):
    '''Says the same of every battle.'''

    cheap = True

    def __init__(self, rate: float = 0.5) -> None:
        self.rate = rate

    def fit(self, battles, labels, *, sample_weight=None, groups=None, context):
        self.prior = np.log(labels.mean(axis=0) + {shift})
        return self

    def predict_logits(self, battles):
        return np.tile(self.prior, (len(battles), 1)).astype(np.float32)

    def save(self, directory):
        (directory / "prior.json").write_text(json.dumps(self.prior.tolist()))

    def load(self, directory):
        self.prior = np.array(json.loads((directory / "prior.json").read_text()))
        return self

helper_function = len
instance = MyModel()
"""


def _write(folder: Path, *, imports: str = "", shift: str = "0.01", **others: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in others.items():
        (folder / f"{name}.py").write_text(text)
    path = folder / "my_learner.py"
    path.write_text(LEARNER.format(imports=imports, shift=shift))
    return path


def _get(path: Path, name: str = "MyModel") -> Any:
    return Manager(discover=False).base_learners.get(f"{path}:{name}")


def test_a_class_of_a_file_is_a_learner_under_its_short_name(tmp_path: Path) -> None:
    path = _write(tmp_path)
    manager = Manager(discover=False)
    entry = manager.base_learners.entry(f"{path}:MyModel")
    assert (entry.name, entry.distribution) == ("my_learner.py:MyModel", "file my_learner.py")
    kind: Any = manager.base_learners.get(f"{path}:MyModel")
    assert kind(rate=0.1).rate == 0.1


def test_two_files_of_one_name_with_helpers_of_one_name_do_not_meet(tmp_path: Path) -> None:
    kinds = [
        _get(_write(tmp_path / side, imports="import helper", helper=f"SIDE = {side!r}"))
        for side in "ab"
    ]
    sides = [vars(sys.modules[kind.__module__])["helper"].SIDE for kind in kinds]
    assert sides == ["a", "b"]
    assert code_digest(kinds[0]) != code_digest(kinds[1])


def test_importing_leaves_no_trace_in_what_other_code_imports(tmp_path: Path) -> None:
    path = _write(tmp_path, imports="import very_own_helper", very_own_helper="X = 1")
    before = list(sys.path)
    _get(path)
    assert sys.path == before
    assert "very_own_helper" not in sys.modules
    assert "my_learner" not in sys.modules
    assert not (tmp_path / "__pycache__").exists()


IMPORTS = {
    "import helper": "helper.X",
    "import helper as other": "other.X",
    "from helper import X": "X",
    "from helper import *": "X",
    "from . import helper": "helper.X",
    "from .helper import X": "X",
    "import inner.deep": "inner.deep.X",
    "from inner import deep": "deep.X",
    "from inner.deep import X": "X",
}


@pytest.mark.parametrize("statement", IMPORTS)
def test_every_way_to_import_from_the_own_folder(statement: str, tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    for name in ("helper.py", "inner/__init__.py", "inner/deep.py"):
        (tmp_path / name).write_text("X = 1")
    path = tmp_path / "mine.py"
    path.write_text(f"{statement}\nFOUND = {IMPORTS[statement]}\n")
    assert load_file(path).FOUND == 1


def test_an_import_within_a_function_works_when_it_is_called(tmp_path: Path) -> None:
    (tmp_path / "late.py").write_text("X = 1")
    path = tmp_path / "mine.py"
    path.write_text("def ask():\n    import late\n    return late.X\n")
    ask = load_file(path).ask
    assert ask() == 1
    assert "late" not in sys.modules


def test_a_file_of_a_package_knows_its_package(tmp_path: Path) -> None:
    package = tmp_path / "mypackage" / "models"
    package.mkdir(parents=True)
    (tmp_path / "mypackage" / "__init__.py").write_text("NAME = 'outer'")
    (package / "__init__.py").write_text("")
    (tmp_path / "mypackage" / "tools.py").write_text("X = 1")
    (package / "mine.py").write_text(
        "from .. import NAME\nfrom ..tools import X\nimport mypackage.tools as tools\n"
    )
    module = load_file(package / "mine.py")
    assert (module.NAME, module.X, module.tools.X) == ("outer", 1, 1)


def test_the_main_part_of_a_file_is_not_run(tmp_path: Path) -> None:
    path = _write(tmp_path, imports="if __name__ == '__main__':\n    raise SystemExit('run')")
    assert _get(path)


def test_code_counts_by_what_it_is_and_not_by_where_it_lies(tmp_path: Path) -> None:
    path = _write(tmp_path / "one", imports="import helper", helper="X = 1")
    shutil.copytree(tmp_path / "one", tmp_path / "elsewhere" / "two")
    first, second = _get(path), _get(tmp_path / "elsewhere" / "two" / path.name)
    assert first is not second
    assert code_digest(first) == code_digest(second)
    assert fit_digest(first) == fit_digest(second)
    (tmp_path / "elsewhere" / "two" / "helper.py").write_text("X = 2")
    third = _get(tmp_path / "elsewhere" / "two" / path.name)
    assert code_digest(third) != code_digest(first)
    assert fit_digest(third) != fit_digest(first)


def test_an_edited_file_is_loaded_anew_but_within_one_verb(tmp_path: Path) -> None:
    path = _write(tmp_path)
    with one_verb():
        first = _get(path)
        before = code_digest(first)
        _write(tmp_path, shift="0.02")
        assert _get(path) is first
        assert code_digest(first) == before
    second = _get(path)
    assert second is not first
    assert code_digest(second) != code_digest(first) == before


def test_a_comment_changes_the_module_and_not_its_digest(tmp_path: Path) -> None:
    first = _get(_write(tmp_path))
    second = _get(_write(tmp_path, imports="# nothing"))
    assert first is not second
    assert code_digest(first) == code_digest(second)


FAULTS = {
    "def broken(:": (r"SyntaxError: .*def broken\(:", ":5"),
    "raise ValueError('boom')": ("ValueError: boom", ":5"),
    "raise SystemExit(3)": ("SystemExit: 3", ":5"),
    "import os; os._exit(3)": (r"os._exit\(3\)", ":5"),
    "import no_such_module_at_all": ("No module named 'no_such_module_at_all'", ":5"),
    "import helper": ("ZeroDivisionError", "helper.py:1"),
    "from helper2 import nothing": ("cannot import name 'nothing' from 'helper2'", ":5"),
    "x = 1\0": ("null bytes", "my_learner.py"),
}


@pytest.mark.parametrize("line", FAULTS)
def test_a_faulty_file_is_a_config_error_with_its_line(line: str, tmp_path: Path) -> None:
    path = _write(tmp_path, imports=line, helper="1 / 0", helper2="")
    told, place = FAULTS[line]
    with pytest.raises(
        ConfigError, match=f"my_learner.py cannot be loaded: (.|\n)*{told}"
    ) as error:
        _get(path)
    assert error.value.where is not None
    assert error.value.where.endswith(place)
    assert "_plugin_file_" not in str(error.value)


def test_what_a_file_has_not_is_told_with_what_is_near(tmp_path: Path) -> None:
    path = _write(tmp_path)
    with pytest.raises(ConfigError, match='has no "MyModle"(.|\n)*did you mean "MyModel"'):
        _get(path, "MyModle")
    with pytest.raises(ConfigError, match='there is no file my_lerner.py(.|\n)*"my_learner.py"'):
        _get(tmp_path / "my_lerner.py")
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        (tmp_path / "folder.py").mkdir()
        _get(tmp_path / "folder.py")


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("helper_function", "it is an object of builtin_function_or_method"),
        ("instance", "name its class, MyModel: instances are made from the config"),
        ("Other", r"derive it from ensemble.BaseLearner: class Other\(BaseLearner\)"),
        ("json", "it is an object of module"),
        ("BaseLearner.fit", "it is a function"),
    ],
)
def test_what_is_no_learner_is_told_to_be_none(name: str, told: str, tmp_path: Path) -> None:
    path = _write(tmp_path, imports="class Other:\n    pass")
    with pytest.raises(ConfigError, match=f"is no base learner(.|\n)*{told}") as error:
        _get(path, name)
    if name == "Other":
        assert error.value.where == f"{path}:5"


def test_a_file_made_for_another_version_of_the_hooks_is_told_so(tmp_path: Path) -> None:
    path = _write(tmp_path, imports="ensemble_api = 7")
    with pytest.raises(ConfigError, match="my_learner.py was made for version 7 of the hooks"):
        _get(path)


def test_a_file_that_asks_for_itself_while_it_is_run_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "my_learner.py"
    path.write_text(
        "from pathlib import Path\nfrom ensemble.plugin.files import load_file\n"
        "load_file(Path(__file__))\n"
    )
    with pytest.raises(ConfigError, match="asks for itself"):
        load_file(path)


def test_names_of_files_are_taken_apart() -> None:
    assert split_reference("a b/my-learner.v2.py:Outer.Inner") == (
        Path("a b/my-learner.v2.py"),
        "Outer.Inner",
    )
    assert split_reference("a\nb/mine.py:Name") == (Path("a\nb/mine.py"), "Name")
    for other in ("tfidf", "my_learner.py", "my_learner.py:", "module:Name", "x.py::Name", ".py:A"):
        assert split_reference(other) is None
    assert short_names({"a": ["/x/y.py:Z", 3], "b": "plain"}) == {"a": ["y.py:Z", 3], "b": "plain"}
    assert short_name("length") == "length"


def test_a_stem_that_is_no_name_can_be_loaded(tmp_path: Path) -> None:
    path = tmp_path / "my-learner v1.2.py"
    path.write_text("X = 1")
    assert load_file(path).X == 1
