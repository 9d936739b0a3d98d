"""Runs of others, damaged or forged in any way: each fit is taken as it should be, or refused."""

from __future__ import annotations

import random
import shutil
from typing import TYPE_CHECKING, Any

import pytest

from ensemble.oof.merge import REFUSED, TAKEN, THERE
from ensemble.stages.merge import merge_stage
from tests.ensemble.oof.two_runs import own_and_other
from tests.fuzz.forged import forge
from tests.fuzz.harmless import bounded_memory, harmless, nothing_else_written
from tests.fuzz.mutations import mutants, scale

if TYPE_CHECKING:
    from pathlib import Path

    from tests.fixture_types import Project

pytestmark = pytest.mark.slow

FITS = (0, (0, 1), None)


@pytest.fixture
def runs(project: Project) -> tuple[Path, Path]:
    """This run, with folds and no fits; and another one of the same config with some."""
    return own_and_other(project, FITS)


def stored(run: Path) -> dict[str, bytes]:
    places = (run / "learners").rglob("*")
    return {p.relative_to(run).as_posix(): p.read_bytes() for p in places if p.is_file()}


def merge(own: Path, other: Path, sound: dict[str, bytes], told: str, dry_run: bool) -> None:
    """Merge, and see that what was taken is what this run would have fitted."""
    offers: list[Any] = []
    harmless(told, lambda: offers.extend(merge_stage(own, [other], dry_run=dry_run)))
    for offer in offers:
        assert (offer.outcome == REFUSED) == bool(offer.reason), (told, offer)
        assert dry_run or offer.outcome in (TAKEN, THERE, REFUSED), (told, offer)
    found = stored(own)
    assert found.keys() <= sound.keys(), told
    assert not list(own.rglob(".tmp-*")), told
    shutil.rmtree(own / "learners", ignore_errors=True)


def test_a_damaged_fit_is_taken_whole_or_refused(runs: tuple[Path, Path], tmp_path: Path) -> None:
    own, other = runs
    sound, place = stored(other), other / "learners/p"
    allowed = (own / "learners", own / "events.jsonl", own / ".lock", own / "jobs.json", place)
    files = sorted(p for p in (place / "fold-0").rglob("*") if p.is_file())
    for path in files:
        whole = path.read_bytes()
        with nothing_else_written(tmp_path, *allowed, own / "running.json"), bounded_memory():
            for told, content in mutants(path.name, whole, 8):
                path.write_bytes(content)
                merge(own, other, sound, told, dry_run=hash(told) % 2 == 0)
        path.write_bytes(whole)


def test_a_forged_fit_is_taken_whole_or_refused(runs: tuple[Path, Path], tmp_path: Path) -> None:
    own, other = runs
    sound = stored(other)
    chance = random.Random("merge")
    kept = tmp_path / "kept"
    shutil.copytree(other / "learners", kept)
    written = ("learners", "events.jsonl", ".lock", "jobs.json")
    allowed = (*(own / name for name in written), other / "learners")
    for number in range(60 * scale()):
        fit = chance.choice(("p/fold-0", "p/pair-0-1", "p/refit", "q/fold-0"))
        place = other / "learners" / fit
        path = chance.choice(sorted(p for p in place.rglob("*") if p.is_file()))
        with nothing_else_written(tmp_path, *allowed, own / "running.json"):
            name = forge(place, path, chance)
            merge(own, other, sound, f"{fit}, {name}, {number}", dry_run=number % 2 == 0)
        shutil.rmtree(other / "learners")
        shutil.copytree(kept, other / "learners")
