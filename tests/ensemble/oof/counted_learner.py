"""A learner that counts its fits, in the code of now: tests exchange its methods."""

from __future__ import annotations

import importlib
import sys
from textwrap import indent
from typing import TYPE_CHECKING, Any

from ensemble import BaseLearner, hookimpl
from ensemble.oof import crossfit
from ensemble.oof.workspace import open_workspace
from ensemble.stacking.settings import learner_specs
from tests.ensemble.stages import prepare_and_split

if TYPE_CHECKING:
    from pathlib import Path

    from ensemble import Config
    from ensemble.plugin.base import Register
    from tests.fixture_types import Project, UsePlugins


HEAD = """
import errno
import numpy as np
from ensemble import BaseLearner

fits, state = [], {}

class Counted(BaseLearner):
    def __init__(self, shift: float = 0.0) -> None:
        self.shift = shift
"""


METHODS = {
    "fit(self, battles, labels, *, context, **_)": """
fits.append(context.seed)
self.shares, self.number = labels.mean(axis=0), len(fits)
return self
""",
    "predict_logits(self, battles)": """
return np.tile(np.log(self.shares + 0.01), (len(battles), 1))
""",
    "save(self, directory)": """
np.save(directory / "shares.npy", np.append(self.shares, self.number))
""",
    "load(self, directory)": """
*shares, self.number = np.load(directory / "shares.npy")
self.shares = np.array(shares)
return self
""",
}
"""A learner that predicts label shares and counts its fits; the tests exchange bodies of these."""


def _text(bodies: dict[str, str]) -> str:
    """Write the module of a learner, some of whose methods have other bodies."""
    methods = {name: bodies.get(name.partition("(")[0], text) for name, text in METHODS.items()}
    return HEAD + "".join(f"    def {n}:\n{indent(t, ' ' * 8)}\n" for n, t in methods.items())


LOGITS = METHODS["predict_logits(self, battles)"].strip()
WRONG_SHAPE = {"predict_logits": f"{LOGITS}[:, :2]"}
WRONG_IN_TEST = {
    "predict_logits": f"""
if battles["id"][0].startswith("t-"):
    raise RuntimeError("no luck with test rows")
{LOGITS}
"""
}
DEPENDS_ON_ORDER = {
    "predict_logits": f"{LOGITS} + np.arange(len(battles))[:, None] * [1, 0, 0]",
}
LOAD = METHODS["load(self, directory)"].replace("array(shares)", "array(shares{})")
LOSES_ON_LOAD = {"load": LOAD.format("[::-1]")}
LOSES_ON_SAVE = {
    "save": 'np.save(directory / "shares.npy", np.append(self.shares[::-1], self.number))'
}
FULL_DISK = {
    "save": f"""
if state.get("full") and "checkpoints" in directory.parts:
    raise OSError(errno.ENOSPC, "No space left on device")
{METHODS["save(self, directory)"].strip()}
"""
}


class _Plugin:
    def __init__(self, kind: type[BaseLearner]) -> None:
        self.kind = kind

    @hookimpl
    def register_base_learners(self, register: Register) -> None:
        register("counted", self.kind)


class Fitting:
    """Fits fold 0 by the code of now, in a new workspace each time.

    Parameters
    ----------
    project, use_plugins, path
        Where its config and its modules are.
    """

    def __init__(self, project: Project, use_plugins: UsePlugins, path: Path) -> None:
        self.project, self.use_plugins, self.path = project, use_plugins, path
        self.fits: list[int] = []
        self.state: dict[str, Any] = {}
        self.versions = 0

    def __call__(self, bodies: dict[str, str] | None = None, **parameters: Any) -> Path:
        """Fit by a learner with these bodies of methods; gives the fold's directory."""
        self.use_plugins(counted=_Plugin(self._import(bodies or {})))
        config: Config = self.project.config([{"name": "x", "plugin": "counted", **parameters}])
        prepare_and_split(config)
        workspace, (spec,) = open_workspace(config), learner_specs(config)
        assert crossfit.fit_fold(workspace, spec, 0)
        return workspace.store.directory("x", 0)

    def _import(self, bodies: dict[str, str]) -> type[BaseLearner]:
        self.versions += 1
        place = self.path / f"code-{self.versions}"
        place.mkdir()
        (place / "counted_learner.py").write_text(_text(bodies))
        sys.modules.pop("counted_learner", None)
        sys.path.insert(0, str(place))
        importlib.invalidate_caches()
        module = importlib.import_module("counted_learner")
        sys.path.remove(str(place))
        vars(module).update(fits=self.fits, state=self.state)
        return module.Counted  # type: ignore[no-any-return]

    @property
    def spares(self) -> list[Path]:
        """What is kept outside the run."""
        place = self.path / "cache" / "preference-ensemble" / "fits"
        return list(place.iterdir()) if place.exists() else []

    @property
    def kept(self) -> list[Path]:
        """Files of models that are kept."""
        return list((self.path / "run").glob("checkpoints/x/*/kept-fit/**/shares.npy"))


OTHER_ORDER_THEN_NONE = {
    "predict_logits": f"""
if self.number == 2:
    raise RuntimeError("no luck with the second seed")
{LOGITS}[:, ::-1]
"""
}
LEFT_OVER = {
    "fit": METHODS["fit(self, battles, labels, *, context, **_)"].replace(
        "return", "self.shares = self.shares + len(fits) / 10; self.extra = 0.5\nreturn"
    ),
    "predict_logits": f"{LOGITS} + [getattr(self, 'extra', 0.0), 0, 0]",
}
"""Predicts by what only ``fit`` leaves behind, and learns something else each time."""
