"""A run whose second source is labeled by one of its learners."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ensemble import Config
    from tests.fixture_types import Project

PUPIL = {"name": "pupil", "plugin": "prior", "shift": 0.5}
TEACHER = {"name": "teacher", "plugin": "prior"}


def pseudo_config(project: Project, *learners: dict[str, Any], **use: Any) -> Config:
    """A config whose second source is labeled by learners of the run."""
    chosen = list(learners or (PUPIL, TEACHER))
    sources = [source.model_dump(exclude_none=True) for source in project.config(chosen).sources]
    sources[1] |= {"role": "pseudo", "pseudo_labelers": ["teacher"], **use}
    return project.config(chosen, sources=sources)
