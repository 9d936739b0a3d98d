"""What is installed, as verbs print it: names, parameters, plugins and what is wrong with them."""

from __future__ import annotations

import inspect
import json
from typing import TYPE_CHECKING, Any

import click

from ensemble.cli.shared import echo_json, only_results
from ensemble.config.plugin_files import absolute_name
from ensemble.errors import EnsembleError, UnknownNameError, printable, unknown_name
from ensemble.plugin.base import BaseLearner
from ensemble.plugin.describe import described_parameters, summary
from ensemble.plugin.manager import get_manager

if TYPE_CHECKING:
    from ensemble.plugin.adoption import Found
    from ensemble.plugin.describe import ParameterText
    from ensemble.plugin.manager import Manager
    from ensemble.plugin.registered import Registered


def show_names(*, as_json: bool) -> None:
    """List all names that configs can use, and who brings each."""
    with only_results():
        manager = get_manager()
        rows = [
            {
                "kind": registry.kind,
                "name": entry.name,
                "plugin": entry.plugin,
                "distribution": entry.distribution,
            }
            for registry in manager.registries.values()
            for entry in registry
        ]
    if as_json:
        echo_json(rows)
        return
    for row in rows:
        told = f"{row['kind']:<13}  {row['name']:<16}  {row['plugin']} ({row['distribution']})"
        click.echo(printable(told))
    if any(one.is_wanted for one in manager.broken):
        click.echo("some plugins were set aside: see `ensemble plugins`", err=True)


def show_parameters(name: str, *, as_json: bool) -> None:
    """Say what a name stands for, and which parameters it takes.

    Raises
    ------
    UnknownNameError
        Nothing is registered under it.
    EnsembleError
        It cannot be loaded.
    """
    with only_results():
        found = [_described(*one) for one in _entries(get_manager(), absolute_name(name))]
    if as_json:
        echo_json(found)
        return
    for number, one in enumerate(found):
        click.echo(printable(("\n" if number else "") + _text_of(one)))


def show_plugins(*, as_json: bool) -> bool:
    """List plugins with all that is wrong; gives whether anything is."""
    with only_results():
        manager = get_manager()
        rows = [_row(manager, found) for found in manager.found.values()]
    if as_json:
        echo_json({"plugins": rows})
    else:
        for row in rows:
            click.echo(printable(_line(row)))
    return any(row["errors"] for row in rows)


def _entries(manager: Manager, name: str) -> list[tuple[str, Registered, Any]]:
    """Find what a name stands for, in whatever registries it is."""
    found, errors = [], []
    for registry in manager.registries.values():
        try:
            found.append((registry.kind, registry.entry(name), registry.get(name)))
        except UnknownNameError:
            continue
        except EnsembleError as error:
            errors.append(error)
    if found:
        return found
    if errors:
        raise errors[0]
    known = {entry.name for registry in manager.registries.values() for entry in registry}
    raise unknown_name("name", name, known)


def _described(kind: str, entry: Registered, target: Any) -> dict[str, Any]:
    return {
        "kind": kind,
        "name": entry.name,
        "plugin": entry.plugin,
        "distribution": entry.distribution,
        "summary": summary(target) if callable(target) else "",
        "parameters": [_parameter(one) for one in _parameters(kind, target)],
        **_more(target),
    }


def _parameters(kind: str, target: Any) -> list[ParameterText]:
    if isinstance(target, type):
        return described_parameters(target)
    if kind != "loader":
        return []
    return described_parameters(target)[1:]  # the first is the path


def _more(target: Any) -> dict[str, Any]:
    """Give the columns of a feature set."""
    if isinstance(target, type) and issubclass(target, BaseLearner):
        return _tolerance(target)
    features = getattr(target, "features", None)
    if isinstance(target, type) or not isinstance(features, tuple):
        return {}
    return {"columns": [{"name": one.name, "meaning": one.description} for one in features]}


def _tolerance(kind: type[BaseLearner]) -> dict[str, Any]:
    """Give the batch tolerance where it is not the default; a property has none before a fit."""
    tolerance = kind.batch_tolerance
    if tolerance == BaseLearner.batch_tolerance or not isinstance(tolerance, int | float):
        return {}
    return {"batch_tolerance": tolerance}


def _parameter(one: ParameterText) -> dict[str, Any]:
    required = one.default is inspect.Parameter.empty
    default = {} if required else {"default": _plain(one.default)}
    return {"name": one.name, "type": one.type, **default, "meaning": one.meaning}


def _plain(value: Any) -> Any:
    """Give a default as JSON has it, or else as text."""
    try:
        json.dumps(value)
    except (TypeError, ValueError):
        return str(value)
    return list(value) if isinstance(value, tuple) else value


def _text_of(one: dict[str, Any]) -> str:
    lines = [f"{one['kind']} {one['name']}, of {one['plugin']} ({one['distribution']})"]
    lines += [f"  {line}".rstrip() for line in one["summary"].splitlines()]
    if "batch_tolerance" in one:
        lines += [
            "",
            f"  A battle's logits may differ by {one['batch_tolerance']} between batches.",
        ]
    for part in (*one["parameters"], *one.get("columns", ())):
        lines += ["", f"  {_head(part)}"]
        lines += [f"      {part['meaning']}"] if part["meaning"] else []
    return "\n".join(lines)


def _head(part: dict[str, Any]) -> str:
    said = f"{part['name']}: {part['type']}" if part.get("type") else part["name"]
    if "type" not in part:
        return str(said)
    return f"{said} = {json.dumps(part['default'])}" if "default" in part else f"{said} (required)"


def _row(manager: Manager, found: Found) -> dict[str, Any]:
    """Describe a plugin; lazy targets of all but the toolkit's own are imported to see."""
    name, _, version = found.distribution.partition(" ")
    names = {
        registry.kind: [entry.name for entry in registry.claims(found.name)]
        for registry in manager.registries.values()
    }
    errors = [] if found.is_left_out else manager.faults(found, resolve=not found.is_builtin)
    return {
        "name": found.name,
        "distribution": name if version and not found.is_file else found.distribution,
        "version": version if version and not found.is_file else None,
        "file": found.file,
        "hooks": list(found.hooks),
        "brings": {kind: brought for kind, brought in names.items() if brought},
        "state": "left out" if found.is_left_out else "works" if found.works else "set aside",
        "why": found.error if found.is_left_out else None,
        "errors": errors,
    }


def _line(row: dict[str, Any]) -> str:
    lines = [f"{row['name']}  {' '.join(filter(None, (row['distribution'], row['version'])))}"]
    if row["state"] != "works":
        lines[0] += f"  {row['why'] or row['state'].upper()}"
    lines += [f"  file:   {row['file']}"] if row["file"] else []
    lines += [f"  hooks:  {', '.join(row['hooks'])}"] if row["hooks"] else []
    lines += [f"  {kind + 's:':<7} {', '.join(names)}" for kind, names in row["brings"].items()]
    lines += [f"  ERROR:  {error}" for error in row["errors"]]
    return "\n".join(lines)
