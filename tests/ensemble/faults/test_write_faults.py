"""Every call that writes, made to fail in turn: a clear error, and the same run in the end.

A sample that has every place of the code and every kind of fault; all of them with
``ENSEMBLE_TEST_FAULTS=all``.
"""

from __future__ import annotations

import json
import random
import re
import shutil
from typing import TYPE_CHECKING, NamedTuple

import pytest

from ensemble.errors import ArtifactError
from ensemble.storage.directories import read_manifest
from tests.ensemble.faults.small_runs import ALL, SEED, Ended, SmallRun
from tests.ensemble.faults.write_layer import KINDS, Call, Kind, PowerCut, WriteLayer
from tests.fakes import Prior

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path


pytestmark = pytest.mark.slow

FITS = 2


class Undisturbed(NamedTuple):
    """A run in which nothing failed: its calls, submission and files."""

    run: SmallRun
    calls: list[Call]
    submission: bytes
    files: set[str]


@pytest.fixture
def undisturbed(small_run: SmallRun) -> Undisturbed:
    with WriteLayer(small_run.place) as layer:
        assert small_run.run().code == 0
    return Undisturbed(small_run, layer.calls, small_run.submission(), small_run.files())


def chosen(calls: Sequence[Call], kind: Kind) -> list[int]:
    """Choose which calls fail: all, or of each operation and of each caller one."""
    can = [at for at, call in enumerate(calls) if call.can_fail(kind)]
    if ALL:
        return can
    draw, picked = random.Random(f"{SEED} {kind}"), set()
    turn = KINDS.index(kind)
    for number, key in enumerate(sorted({caller(calls[at]) for at in can})):
        if number % len(KINDS) == turn or (kind == "unflushed" and number % 2):
            picked.add(draw.choice([at for at in can if caller(calls[at]) == key]))
    for operation in sorted({calls[at].operation for at in can}):
        picked.add(draw.choice([at for at in can if calls[at].operation == operation]))
    return sorted(picked)


def caller(call: Call) -> tuple[str, str]:
    """Name what asked for a call, and what it is a part of: making room, writing or placing."""
    part = {"mkdir": "room", "open": "room", "write": "write", "fsync": "write"}
    return call.site.split()[0], part.get(call.operation, "place")


@pytest.mark.parametrize("kind", KINDS)
def test_any_call_that_fails_is_told_and_mended(undisturbed: Undisturbed, kind: Kind) -> None:
    at = chosen(undisturbed.calls, kind)
    assert at
    faults = [
        f"{n} {undisturbed.calls[n]}: {f}" for n in at for f in faults_after(undisturbed, n, kind)
    ]
    assert not faults, f"{len(faults)} of {len(at)}:\n" + "\n".join(faults)


def faults_after(known: Undisturbed, at: int, kind: Kind) -> Iterator[str]:
    """Run with one fault and then without, and say what is wrong with either."""
    run = known.run
    shutil.rmtree(run.directory)
    shutil.rmtree(run.place / "xdg", ignore_errors=True)
    Prior.seen.clear()
    layer = WriteLayer(run.place, at, kind)
    try:
        with layer:
            ended = run.run()
    except PowerCut:
        ended = None
    if layer.failed is None:
        yield "the call was never made"
        return
    if ended is not None:
        yield from untold(run, ended, known.submission)
    yield from unmended(known)


def untold(run: SmallRun, ended: Ended, submission: bytes) -> Iterator[str]:
    """Say what a message lacks; a fault that changes nothing may pass."""
    if ended.code == 0:
        if run.submission() != submission:
            yield "it ended well with another submission"
        return
    if ended.code != 1 or "Traceback" in ended.err or "error: " not in ended.err:
        yield f"code {ended.code}: {ended.err}"
    if not re.search("No space left on device|Input/output error", ended.err):
        yield f"does not say what: {ended.err}"
    if str(run.directory) not in ended.err:
        yield f"does not say where: {ended.err}"
    if "hint: " not in ended.err:
        yield f"does not say how to mend it: {ended.err}"


def unmended(known: Undisturbed) -> Iterator[str]:
    """Run again, and say in what the run differs from one that was never disturbed."""
    run = known.run
    whole = sum(is_whole(path) for path in run.directory.glob("learners/p/fold-*"))
    before = len(Prior.seen)
    ended = run.run()
    if ended.code != 0:
        yield f"the same command again: {ended.err}"
        return
    if run.submission() != known.submission:
        yield "another submission"
    if len(Prior.seen) - before > FITS - whole:
        yield f"{len(Prior.seen) - before} fits, though {whole} of {FITS} were whole"
    if run.files() != known.files:
        yield f"other files: {sorted(run.files() ^ known.files)}"
    torn = [line for line in lines_of(run.directory / "events.jsonl") if not is_event(line)]
    if len(torn) > 1:  # that of the call that failed, and no other for its sake
        yield f"events are torn: {torn}"
    again = run.run()
    if again.code != 0 or len(Prior.seen) - before > FITS - whole:
        yield f"a third time: {again.err}, {len(Prior.seen)} fits"


def lines_of(path: Path) -> list[str]:
    """Read the lines of a file, the last one without its end too."""
    return path.read_text(errors="replace").splitlines()


def is_event(line: str) -> bool:
    """Say whether a line is one event."""
    try:
        return bool(json.loads(line)["event"])
    except ValueError:
        return False


def is_whole(directory: Path) -> bool:
    """Say whether a fit is finished."""
    try:
        return bool(read_manifest(directory))
    except ArtifactError:
        return False


def test_everything_is_flushed_before_it_is_renamed(undisturbed: Undisturbed) -> None:
    """Else a power cut may leave the new name with no bytes."""
    flushed: set[str] = set()
    for call in undisturbed.calls:
        if call.operation == "fsync":
            flushed.add(call.name)
        elif call.operation == "write" and "events.jsonl" not in call.name:
            flushed.discard(call.name)
        elif call.operation in ("rename", "replace") and "running.json" not in call.name:
            assert call.name in flushed, call
