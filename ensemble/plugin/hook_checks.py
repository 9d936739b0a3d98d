"""What is wrong with a plugin's hooks, told before one of them is called."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, NamedTuple

from ensemble.errors import nearest
from ensemble.plugin import hookspecs
from ensemble.plugin.base import BaseLearner, MetaLearner
from ensemble.plugin.feature import FeatureSet

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_MARK, _SPEC = f"{hookspecs.PROJECT}_impl", f"{hookspecs.PROJECT}_spec"
_BRINGS = "register"


class Hook(NamedTuple):
    """A function of a plugin that is marked as a hook."""

    name: str
    attribute: str
    function: Any
    takes: tuple[str, ...]
    options: Mapping[str, Any]


def hook_arguments() -> dict[str, tuple[str, ...]]:
    """Give the arguments of every hook, by name, in the order of the specification."""
    return {
        name: tuple(inspect.signature(function).parameters)
        for name, function in vars(hookspecs).items()
        if hasattr(function, _SPEC)
    }


def hooks_of(plugin: object) -> list[Hook]:
    """List the functions of a plugin that are marked as hooks."""
    return [hook for name in dir(plugin) if (hook := _hook(plugin, name)) is not None]


def hook_faults(plugin: object) -> Iterator[str]:
    """Say what of a plugin cannot be a hook, or would never be called; each with its place."""
    found, known = hooks_of(plugin), hook_arguments()
    for hook in found:
        if hook.name in known:
            yield from _faults_of(hook, known[hook.name], plugin)
        elif not hook.options.get("optionalhook"):
            yield f'unknown hook "{hook.name}"{_at(hook.function)}: {nearest(hook.name, known)}'
    unmarked = [name for name in known if _is_unmarked(plugin, name)]
    for name in unmarked:
        function = inspect.getattr_static(plugin, name)
        yield f"{name}{_at(function)} is not marked: put @hookimpl of ensemble above it"
    if not found and not unmarked:
        yield _why_none(plugin)


def _hook(plugin: object, name: str) -> Hook | None:
    raw = _static(plugin, name)
    function = getattr(raw, "__func__", raw)
    options = getattr(function, _MARK, None) or getattr(raw, _MARK, None)
    if not isinstance(options, dict) or not callable(function):
        return None
    given = inspect.signature(getattr(plugin, name)).parameters.values()
    takes = tuple(one.name for one in given if _is_given(one))
    return Hook(options.get("specname") or name, name, raw, takes, options)


def _static(plugin: object, name: str) -> Any:
    return inspect.getattr_static(plugin, name, None)


def _is_given(one: inspect.Parameter) -> bool:
    """Say whether a hook is given an argument: one with a default never is."""
    by_place = one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD)
    return by_place and one.default is one.empty


def _faults_of(hook: Hook, known: tuple[str, ...], plugin: object) -> Iterator[str]:
    named = f"{hook.attribute}{_at(hook.function)}"
    signature = f"{hook.name}({', '.join(known)})"
    function = getattr(hook.function, "__func__", hook.function)
    if hook.options.get("wrapper") or hook.options.get("hookwrapper"):
        yield f"{named} is a wrapper, and each plugin is called alone: write def {signature}"
    elif inspect.iscoroutinefunction(function) or inspect.isgeneratorfunction(function):
        yield f"{named} is no plain function, and would never run: write def {signature}"
    foreign = [name for name in hook.takes if name not in known]
    if foreign and inspect.isclass(plugin):
        yield f"{named} takes {foreign[0]}: the plugin is a class, and has to be an object of it"
    elif foreign:
        yield f'{named} takes "{foreign[0]}", which the hook has not: write def {signature}'
    elif _BRINGS in known and _BRINGS not in hook.takes:
        yield f'{named} does not take "{_BRINGS}", and brings nothing: write def {signature}'


def _is_unmarked(plugin: object, name: str) -> bool:
    function = _static(plugin, name)
    function = getattr(function, "__func__", function)
    is_spec = hasattr(function, _SPEC) or hasattr(function, _MARK)
    return inspect.isfunction(function) and not is_spec


def _why_none(plugin: object) -> str:
    if isinstance(plugin, type) and issubclass(plugin, BaseLearner | MetaLearner):
        return (
            f"it is the class {plugin.__name__}, and has to be a module with hooks: name the "
            f'module alone ("{plugin.__module__}"), and register the class in a hook there'
        )
    if isinstance(plugin, FeatureSet):
        return "it is a feature set, and has to be a module with hooks that registers it"
    known = ", ".join(hook_arguments())
    return f"it has no hook: mark one with @hookimpl of ensemble. There are: {known}"


def _at(function: Any) -> str:
    code = getattr(inspect.unwrap(getattr(function, "__func__", function)), "__code__", None)
    return f" ({code.co_filename}:{code.co_firstlineno})" if code else ""
