"""All learners that break the contract, each in one way, and what the kit has to say of them."""

from __future__ import annotations

from tests.ensemble.testing import broken_files, broken_fits, broken_options, broken_outputs
from tests.ensemble.testing.sound_learner import BROKEN, Sound

__all__ = ["BROKEN", "Sound", "broken_files", "broken_fits", "broken_options", "broken_outputs"]
