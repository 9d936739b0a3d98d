"""Code of a plugin that the user says to give what the code before it gave.

A digest cannot tell a change that matters from one that does not. Who can may have the folds kept
that other code has made: the run remembers it in ``kept.json``, and the new code then stands for
the old one in every key.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ensemble.plugin.code import as_known
from ensemble.run_dir.layout import KEPT
from ensemble.storage.atomic import remove_file
from ensemble.storage.hashing import fingerprint
from ensemble.storage.json_files import read_checksummed, write_checksummed

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_HINT = "delete it; what was kept for other code is then asked again"


@dataclass(frozen=True)
class Kept:
    """What the code of one learner stands for.

    Parameters
    ----------
    made_by
        The code that has made its folds; None where nothing was said.
    same
        Codes that give the same.
    """

    made_by: Mapping[str, Any] | None = None
    same: tuple[Mapping[str, Any], ...] = ()

    @classmethod
    def of(cls, stored: Mapping[str, Any]) -> Kept:
        """Take what ``to_json`` gave."""
        return cls(stored["made_by"], tuple(stored["same"]))

    def stands_for(self, code: dict[str, Any]) -> dict[str, Any]:
        """Give the code that made the folds where this one is the same, else this one."""
        is_same = any(one == as_known(code, one) for one in self.same)
        return dict(self.made_by) if self.made_by and is_same else code

    def to_json(self) -> dict[str, Any]:
        """Give it as JSON."""
        return {"made_by": self.made_by, "same": list(self.same)}


NOTHING_KEPT = Kept()


def read_kept(run: Path) -> dict[str, Kept]:
    """Read what a run keeps, by learner; nothing where nothing was said.

    Raises
    ------
    ArtifactError
        The file is damaged.
    """
    if not os.path.lexists(run / KEPT):
        return {}
    stored = read_checksummed(run / KEPT, hint=_HINT)["learners"]
    return {name: Kept.of(one) for name, one in stored.items()}


def keep(run: Path, learner: str, made_by: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Remember that the code of now gives what the code gave that has made a learner's folds."""
    kept = read_kept(run)
    before = kept.get(learner, NOTHING_KEPT)
    known = before.same if before.made_by == made_by else ()
    kept[learner] = Kept(made_by, tuple({fingerprint(one): one for one in (*known, now)}.values()))
    _write(run, kept)


def forget(run: Path, learner: str) -> None:
    """Take back what was said of a learner, whose folds are made anew."""
    kept = read_kept(run)
    if kept.pop(learner, None) is not None:
        _write(run, kept)


def restore(run: Path, before: Mapping[str, Kept]) -> None:
    """Write again what a run kept before, as ``read_kept`` gave it."""
    if before:
        _write(run, before)
    else:
        remove_file(run / KEPT)


def _write(run: Path, kept: Mapping[str, Kept]) -> None:
    stored = {name: one.to_json() for name, one in sorted(kept.items())}
    write_checksummed(run / KEPT, {"learners": stored})
