"""Two runs of one config, of which one has fits that the other may take."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ensemble.oof.crossfit import fit_fold
from ensemble.stacking.settings import learner_specs
from ensemble.stages.shared import record_config
from tests.ensemble.oof.prepared import prepared

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ensemble.battles.held_out import FoldLike
    from tests.fixture_types import Project


def own_and_other(project: Project, fits: Sequence[FoldLike]) -> tuple[Path, Path]:
    """Make a run with folds and no fits; and another one of the same config that has these fits."""
    learners: list[dict[str, Any]] = [
        {"name": "p", "plugin": "prior"},
        {"name": "q", "plugin": "prior", "seeds": 2},
    ]
    found = []
    for name, own_fits in (("own", ()), ("other", fits)):
        config = project.config(learners, run_dir=name)
        space = prepared(config)
        record_config(config)
        (space.run / "events.jsonl").touch()
        for spec in learner_specs(config):
            for held_out in own_fits:
                fit_fold(space, spec, held_out)
        found.append(space.run)
    return found[0], found[1]
