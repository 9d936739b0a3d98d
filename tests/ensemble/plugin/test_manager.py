from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from ensemble.errors import PluginError, UnknownNameError
from ensemble.plugin import hookspecs
from ensemble.plugin.hookspecs import hookimpl
from ensemble.plugin.manager import Manager, get_manager, use_manager

if TYPE_CHECKING:
    from pathlib import Path


class _Plugin:
    """A plugin made of the functions it is given, under their own names."""

    def __init__(self, *functions: Any) -> None:
        for function in functions:
            setattr(self, function.__name__, function)


def _plugin(hook: str, *entries: tuple[str, object]) -> object:
    def implementation(register: Any) -> None:
        for name, target in entries:
            register(name, target)

    implementation.__name__ = hook
    return _Plugin(hookimpl(implementation))


def _learners(*entries: tuple[str, object]) -> object:
    return _plugin("register_base_learners", *entries)


def test_the_built_ins_come_through_the_entry_point() -> None:
    manager = Manager()
    names = {entry.name for entry in manager.base_learners}
    assert {"handcrafted", "tfidf", "precomputed"} <= names
    assert manager.meta_learners.entry("lightgbm").plugin == "builtin"
    assert {"length", "markdown", "similarity"} <= {e.name for e in manager.feature_sets}


def test_every_built_in_can_be_loaded() -> None:
    manager = Manager()
    for registry in (manager.base_learners, manager.meta_learners, manager.feature_sets):
        for entry in registry:
            registry.get(entry.name)


def test_listing_learners_imports_none_of_them() -> None:
    # Apart: modules taken out of this process and imported again would exist twice.
    code = (
        "import sys; from ensemble.plugin.manager import Manager; names = Manager().base_learners;"
        "sys.exit(int('handcrafted' not in names or 'ensemble_plugins.handcrafted' in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_what_lies_beside_a_notebook_hides_no_built_in(tmp_path: Path) -> None:
    for name in ("features", "plugins"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('taken for a part of the toolkit')")
    code = (
        "from ensemble.plugin.manager import Manager; manager = Manager();"
        "print(manager.base_learners.get('handcrafted'), manager.feature_sets.get('length'))"
    )
    finished = subprocess.run([sys.executable, "-c", code], check=False, cwd=tmp_path)
    assert finished.returncode == 0


def test_an_unknown_name_says_which_is_near_and_which_exist() -> None:
    with pytest.raises(UnknownNameError, match='"tfidff"(.|\n)*did you mean "tfidf"(.|\n)*handcra'):
        Manager().base_learners.get("tfidff")


def test_a_name_registered_twice_names_both_plugins() -> None:
    one, two = _learners(("x", "a:A")), _learners(("x", "b:B"))
    with pytest.raises(PluginError, match='"x" is registered twice(.|\n)*"one"(.|\n)*"two"'):
        Manager({"one": one, "two": two}, discover=False)


@pytest.mark.parametrize("name", ["../../evil", "a/b", ".hidden", "", "C:\\x", None, 3])
def test_a_name_that_could_leave_the_run_directory_is_refused(name: Any) -> None:
    class Plugin:
        @hookimpl
        def register_base_learners(self, register: Any) -> None:
            register(name, "somewhere:Learner")

    with pytest.raises(PluginError, match="cannot be the name of a base learner"):
        Manager({"bad": Plugin()}, discover=False)


@pytest.mark.parametrize("target", [dict, object()])
def test_a_name_and_a_target_that_are_exchanged_are_said_to_be(target: Any) -> None:
    with pytest.raises(PluginError, match="the name comes first") as caught:
        Manager({"bad": _learners((target, "x"))}, discover=False)
    assert caught.value.where == 'plugin "bad" (given in Python)'


@pytest.mark.parametrize("target", ["no_colon", ":X", "module:", ""])
def test_a_target_that_names_no_module_and_class_is_refused(target: str) -> None:
    manager = Manager({"odd": _learners(("x", target))}, discover=False)
    with pytest.raises(PluginError, match='its target is no "module:name"'):
        manager.base_learners.get("x")


def test_a_plugin_that_ends_the_process_while_registering_is_skipped() -> None:
    @hookimpl
    def register_base_learners(register: object) -> None:
        os._exit(0)

    manager = Manager({"bad": _Plugin(register_base_learners)}, discover=False)
    assert "SystemExit: it called os._exit(0)" in manager.broken[0].error
    assert __file__ in manager.broken[0].error


def test_a_misspelled_hook_is_refused() -> None:
    plugin = _plugin("register_base_leaners", ("x", "a:A"))
    with pytest.raises(PluginError, match='did you mean "register_base_learners"'):
        Manager({"typo": plugin}, discover=False)


def test_a_hook_with_a_wrong_argument_is_refused() -> None:
    @hookimpl
    def register_base_learners(registry: object) -> None:
        """Take an argument that the hook has not."""

    plugin = _Plugin(register_base_learners)
    with pytest.raises(PluginError, match="registry"):
        Manager({"odd": plugin}, discover=False)


def test_a_lazy_target_that_fails_is_an_error_only_when_it_is_needed() -> None:
    manager = Manager({"lazy": _learners(("x", "no_such_module:X"))}, discover=False)
    assert "x" in manager.base_learners
    with pytest.raises(PluginError, match='"x" cannot be loaded(.|\n)*no_such_module(.|\n)*"lazy"'):
        manager.base_learners.get("x")


def test_a_target_of_another_kind_is_refused() -> None:
    manager = Manager({"odd": _learners(("x", dict))}, discover=False)
    with pytest.raises(PluginError, match='"x" is not a base learner'):
        manager.base_learners.get("x")


def test_a_plugin_that_raises_while_registering_is_skipped_with_its_error() -> None:
    @hookimpl
    def register_base_learners(register: object) -> None:
        raise RuntimeError("boom")

    bad = _Plugin(register_base_learners)
    manager = Manager({"bad": bad, "good": _learners(("x", "a:A"))}, discover=False)
    assert [item.name for item in manager.broken] == ["bad"]
    assert "x" in manager.base_learners
    with pytest.raises(UnknownNameError, match='"bad" was skipped: RuntimeError: boom'):
        manager.base_learners.get("y")


def test_an_installed_plugin_that_fails_to_import_is_skipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken_plugin_module.py").write_text("raise ImportError('no such GPU')")
    info = tmp_path / "broken_plugin-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: broken-plugin\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[ensemble]\nbroken = broken_plugin_module\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    manager = Manager()
    assert [(b.name, b.distribution) for b in manager.broken] == [("broken", "broken-plugin 1.0")]
    assert "no such GPU" in manager.broken[0].error
    assert "handcrafted" in manager.base_learners


def test_one_manager_a_process_until_told_otherwise() -> None:
    use_manager(None)
    assert get_manager() is get_manager()
    other = Manager(discover=False)
    use_manager(other)
    assert get_manager() is other
    use_manager(None)


def test_every_hook_is_documented_and_tested_here() -> None:
    hooks = [name for name, f in vars(hookspecs).items() if hasattr(f, "ensemble_spec")]
    assert hooks == [
        "register_base_learners",
        "register_feature_sets",
        "register_meta_learners",
        "register_loaders",
        "register_observers",
        "fold_fitted",
        "stack_decided",
        "run_finished",
    ]
