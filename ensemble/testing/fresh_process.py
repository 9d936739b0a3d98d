"""What runs in a process that knows nothing of a fit: one request, one answer, both JSON."""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import socket
import sys
import time
from operator import attrgetter
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
import polars as pl

from ensemble.errors import UnknownNameError
from ensemble.plugin.base import FitContext, MetaFeatures
from ensemble.plugin.faults import own_line, plugin_errors
from ensemble.plugin.files import load_file
from ensemble.plugin.parameters import build
from ensemble.plugin.snapshots import is_of_snapshot

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

_GLANCE = 0.5
"""Seconds between two looks at whether the parent is there."""


def main(parent: int) -> None:
    """Answer the one request on standard input; what plugins print goes to standard error.

    Parameters
    ----------
    parent
        Number of the process that asks: this one ends with it.
    """
    Thread(target=_end_with, args=(parent, os._exit), daemon=True).start()
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    _cut_off()
    request = json.loads(sys.stdin.read())
    try:
        _forbid(request.get("forbidden", []))
        reply = _reply(request)
    except UnknownNameError as error:
        reply = {"unknown": str(error)}
    except plugin_errors() as error:
        line = own_line(error)
        told = f"{type(error).__name__}: {error}"
        reply = {"error": f"{told} ({line})" if line else told}
    answers.write(json.dumps(reply) + "\n")
    answers.flush()


def _end_with(parent: int, leave: Callable[[int], NoReturn]) -> None:
    while os.getppid() == parent:
        time.sleep(_GLANCE)
    leave(1)


def _cut_off() -> None:
    """Leave no way to the network."""

    def refuse(*_: Any, **__: Any) -> NoReturn:
        raise OSError("there is no network here")

    for name in ("connect", "connect_ex", "sendto"):
        setattr(socket.socket, name, refuse)
    for name in ("getaddrinfo", "create_connection", "gethostbyname"):
        setattr(socket, name, refuse)


def _forbid(paths: list[str]) -> None:
    """Hide files that a fit has left elsewhere: on another machine they are not there."""
    hidden = {*paths}

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open" and isinstance(arguments[0], str | bytes):
            path = os.path.abspath(os.fsdecode(arguments[0]))  # noqa: PTH100 - links are not followed
            if path in hidden:
                raise FileNotFoundError(2, "it is not there on another machine", path)

    if hidden:
        sys.addaudithook(hook)


def _reply(request: dict[str, Any]) -> dict[str, Any]:
    try:
        kind = _class_of(request["origin"])
    except plugin_errors() as error:
        return {"unknown": f"{type(error).__name__}: {error}"}
    learner: Any = build(kind, request["origin"]["parameters"], where=kind.__qualname__)
    if "fit" in request:
        _fit(learner, Path(request["fit"]))
    else:
        loaded = learner.load(Path(request["model"]))
        if not isinstance(loaded, kind):
            return {"error": f"load returned {type(loaded).__name__}, not the learner"}
        learner = loaded
    return {"values": np.asarray(_predict(learner, Path(request["asked"])), dtype=float).tolist()}


def _class_of(origin: dict[str, Any]) -> type:
    kind: type = attrgetter(origin["qualname"])(_module_of(origin["module"], Path(origin["file"])))
    return kind


def _module_of(name: str, file: Path) -> ModuleType:
    if is_of_snapshot(name):
        return load_file(file)
    if name != "__main__":
        try:
            module = importlib.import_module(name)
        except ImportError:
            module = None
        known = getattr(module, "__file__", None)
        if module is not None and known and Path(known).resolve() == file:
            return module
    else:
        name = "__ensemble_main__"  # what stands under `if __name__ == "__main__"` is not run
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise ImportError(f"{file} is no module")
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    sys.path.append(str(file.parent))
    spec.loader.exec_module(module)
    return module


def _fit(learner: Any, directory: Path) -> None:
    data = np.load(directory / "training.npz", allow_pickle=False)
    inputs = (
        pl.read_parquet(directory / "training.parquet", glob=False)
        if (directory / "training.parquet").exists()
        else read_meta(directory / "training-meta.npz")
    )
    learner.fit(
        inputs,
        data["labels"],
        sample_weight=data["weight"],
        groups=data["groups"],
        context=FitContext(
            seed=int(data["seed"]),
            cache_directory=_new(directory / "fresh-cache"),
            checkpoint_directory=_new(directory / "fresh-checkpoint"),
        ),
    )


def _new(directory: Path) -> Path:
    directory.mkdir(exist_ok=True)
    return directory


def _predict(learner: Any, asked: Path) -> Any:
    if asked.suffix == ".npz":
        return learner.predict_proba(read_meta(asked))
    return learner.predict_logits(pl.read_parquet(asked, glob=False))


def write_meta(meta: MetaFeatures, path: Path) -> None:
    """Write what a meta-learner sees."""
    np.savez(
        path,
        logits=meta.logits,
        learners=np.array(meta.learners, dtype=str),
        features=meta.features,
        feature_names=np.array(meta.feature_names, dtype=str),
        feature_swap=meta.feature_swap,
        feature_sign=meta.feature_sign,
        ties=meta.ties,
    )


def read_meta(path: Path) -> MetaFeatures:
    """Read what ``write_meta`` wrote."""
    with np.load(path, allow_pickle=False) as found:
        return MetaFeatures(
            found["logits"],
            tuple(found["learners"].tolist()),
            found["features"],
            tuple(found["feature_names"].tolist()),
            found["feature_swap"],
            found["feature_sign"],
            bool(found["ties"]),
        )
