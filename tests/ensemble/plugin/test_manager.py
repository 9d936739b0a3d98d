from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ensemble import hookimpl
from ensemble.errors import PluginError, UnknownNameError
from ensemble.plugin import hookspecs
from ensemble.plugin.base import BaseLearner
from ensemble.plugin.hook_checks import hook_arguments
from ensemble.plugin.manager import Manager, get_manager, use_manager
from tests.installed import install_distribution

if TYPE_CHECKING:
    from pathlib import Path

    from ensemble.plugin.base import Register


class _Plugin:
    """A plugin made of the functions it is given, under their own names."""

    def __init__(self, *functions: Any) -> None:
        for function in functions:
            setattr(self, function.__name__, function)


def _plugin(hook: str, *entries: tuple[str, object]) -> object:
    def implementation(register: Register) -> None:
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


def test_a_name_of_two_plugins_is_an_error_only_where_it_is_needed() -> None:
    one = _learners(("x", "json:JSONEncoder"), ("mine", "json:JSONDecoder"))
    two = _learners(("x", "b:B"), ("yours", "c:C"))
    manager = Manager({"one": one, "two": two}, discover=False)
    assert [entry.name for entry in manager.base_learners] == ["mine", "yours"]
    with pytest.raises(PluginError, match='"x" is registered twice: by plugins "one"(.|\n)*"two"'):
        manager.base_learners.entry("x")
    for name in ("one", "two"):
        (told,) = manager.faults(manager.found[name])
        assert '"x" is registered twice' in told
    assert not manager.broken


def test_a_name_of_the_toolkit_stays_its_own() -> None:
    manager = Manager({"thief": _learners(("tfidf", "a:A"), ("other", "b:B"))})
    assert manager.base_learners.entry("tfidf").plugin == "builtin"
    assert "other" in [entry.name for entry in manager.base_learners]
    (told,) = manager.faults(manager.found["thief"])
    assert told == 'base learner "tfidf" is a name of the toolkit\'s own, which keeps it'


def test_a_name_that_a_plugin_gives_twice_sets_it_aside() -> None:
    manager = Manager({"odd": _learners(("x", "a:A"), ("x", "b:B"))}, discover=False)
    with pytest.raises(PluginError, match='registers the base learner "x" twice'):
        manager.base_learners.entry("x")


@pytest.mark.parametrize("name", ["../../evil", "a/b", ".hidden", "", "C:\\x", None, 3])
def test_a_name_that_could_leave_the_run_directory_is_refused(name: str) -> None:
    class Plugin:
        @hookimpl
        def register_base_learners(self, register: Register) -> None:
            register(name, "somewhere:Learner")

    good = _learners(("x", "a:A"))
    manager = Manager({"bad": Plugin(), "good": good}, discover=False)
    assert "cannot be the name of a base learner" in manager.broken[0].error
    assert [entry.name for entry in manager.base_learners] == ["x"]


@pytest.mark.parametrize("target", [dict, object()])
def test_a_name_and_a_target_that_are_exchanged_are_said_to_be(target: Any) -> None:
    manager = Manager({"bad": _learners((target, "x"))}, discover=False)
    assert [one.name for one in manager.broken] == ["bad"]
    assert "the name comes first: register(name, target)" in manager.broken[0].error


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


def test_a_misspelled_hook_sets_its_plugin_aside() -> None:
    typo, good = _plugin("register_base_leaners", ("x", "a:A")), _learners(("y", "a:A"))
    manager = Manager({"typo": typo, "good": good}, discover=False)
    (broken,) = manager.broken
    assert 'unknown hook "register_base_leaners"' in broken.error
    assert 'did you mean "register_base_learners"' in broken.error
    assert __file__ in broken.error
    with pytest.raises(UnknownNameError, match='plugin "typo" was skipped: unknown hook'):
        manager.base_learners.get("x")


@hookimpl
def _takes_another(registry: object) -> None: ...
@hookimpl
def _takes_nothing() -> None: ...
@hookimpl
def _takes_by_default(register: object = None) -> None: ...
@hookimpl
def _takes_by_name(*, register: object) -> None: ...
@hookimpl
async def _is_async(register: object) -> None: ...
@hookimpl
def _is_generator(register: object) -> Any:
    yield register


@hookimpl(wrapper=True)
def _wraps(register: object) -> Any:
    yield


def _is_unmarked(register: object) -> None: ...


@pytest.mark.parametrize(
    ("function", "told"),
    [
        (_takes_another, 'takes "registry", which the hook has not'),
        (_takes_nothing, 'does not take "register", and brings nothing'),
        (_takes_by_default, 'does not take "register", and brings nothing'),
        (_takes_by_name, 'does not take "register", and brings nothing'),
        (_is_async, "is no plain function, and would never run"),
        (_is_generator, "is no plain function, and would never run"),
        (_wraps, "is a wrapper, and each plugin is called alone"),
        (_is_unmarked, "is not marked: put @hookimpl of ensemble above it"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_hook_that_would_not_be_called_sets_its_plugin_aside(function: Any, told: str) -> None:
    plugin = type(sys)("odd")
    vars(plugin)["register_base_learners"] = function
    manager = Manager({"odd": plugin, "good": _learners(("x", "a:A"))}, discover=False)
    (broken,) = manager.broken
    assert told in broken.error
    assert f"{__file__}:" in broken.error
    assert "x" in manager.base_learners


class _HasHooks:
    @hookimpl
    def register_base_learners(self, register: Any) -> None:
        register("x", "a:A")


@pytest.mark.parametrize(
    ("plugin", "told"),
    [
        (BaseLearner, "it is the class BaseLearner, and has to be a module with hooks"),
        (_HasHooks, "the plugin is a class, and has to be an object of it"),
        (os, "it has no hook: mark one with @hookimpl of ensemble"),
        ("text", "it has no hook"),
    ],
)
def test_a_plugin_without_hooks_is_said_to_be_one(plugin: object, told: str) -> None:
    manager = Manager({"odd": plugin}, discover=False)
    assert told in manager.broken[0].error


@pytest.mark.parametrize("version", [0, 2, "1.0", None, True])
def test_a_plugin_of_another_version_of_the_hooks_is_told_so(version: object) -> None:
    plugin = _learners(("x", "a:A"))
    vars(plugin)["ensemble_api"] = version
    manager = Manager({"old": plugin}, discover=False)
    assert f"was made for version {version!r} of the hooks" in manager.broken[0].error
    assert "x" not in manager.base_learners
    vars(plugin)["ensemble_api"] = hookspecs.API_VERSION
    assert "x" in Manager({"now": plugin}, discover=False).base_learners


def test_a_hook_that_raises_midway_leaves_nothing_of_its_plugin() -> None:
    @hookimpl
    def register_base_learners(register: Any) -> None:
        register("x", "a:A")
        raise RuntimeError("boom")

    @hookimpl
    def register_loaders(register: Any) -> None:
        register("l", "a:b")

    manager = Manager({"half": _Plugin(register_base_learners, register_loaders)}, discover=False)
    assert not list(manager.base_learners)
    assert not list(manager.loaders)
    with pytest.raises(PluginError, match='"x" cannot be had: its plugin was set aside: Runtime'):
        manager.base_learners.get("x")
    with pytest.raises(UnknownNameError, match='unknown base learner "l"'):
        manager.base_learners.get("l")


def test_a_lazy_target_that_fails_is_an_error_only_when_it_is_needed() -> None:
    manager = Manager({"lazy": _learners(("x", "no_such_module:X"))}, discover=False)
    assert "x" in manager.base_learners
    with pytest.raises(PluginError, match='"x" cannot be loaded(.|\n)*no_such_module(.|\n)*"lazy"'):
        manager.base_learners.get("x")


def test_a_target_of_another_kind_is_refused() -> None:
    manager = Manager({"odd": _learners(("x", dict))}, discover=False)
    with pytest.raises(PluginError, match='"x" is not a base learner'):
        manager.base_learners.get("x")
    assert "x" not in [entry.name for entry in manager.base_learners]
    assert manager.faults(manager.found["odd"]) == [f'"x" is not a base learner: {dict!r}']


def test_a_lazy_target_of_another_kind_is_found_where_it_is_looked_for() -> None:
    manager = Manager({"odd": _learners(("x", "json:dumps"))}, discover=False)
    assert not manager.faults(manager.found["odd"])
    (told,) = manager.faults(manager.found["odd"], resolve=True)
    assert told.startswith('"x" is not a base learner')


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
    text = "raise ImportError('no such GPU')"
    module = "broken_plugin_module"
    install_distribution(tmp_path, "broken-plugin", "1.0", module, text, point="broken")
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


def test_every_hook_has_a_test() -> None:
    """Some test implements it."""
    folder = Path(__file__).parents[2]
    text = "".join(path.read_text(encoding="utf-8") for path in folder.rglob("*.py"))
    used = r'(@hookimpl(\(.*\))?\s+def {0}\(|_plugin\("{0}"|name="{0}")'
    missing = [name for name in hook_arguments() if not re.search(used.format(name), text)]
    assert not missing


def test_hooks_are_spelled_in_the_docs_as_they_are() -> None:
    """Wherever a page writes a hook with its arguments; and each once at least."""
    pages = (Path(__file__).parents[3] / "docs").glob("*.md")
    text = "".join(page.read_text(encoding="utf-8") for page in pages)
    for name, arguments in hook_arguments().items():
        told = set(re.findall(rf"`{name}\(([^)]*)\)`", text))
        assert told == {", ".join(arguments)}, name
