"""Files between nodes: in pieces, by hash, inside their directories, and swept."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from ensemble import errors
from ensemble.oof.cluster.depot import Depot
from ensemble.oof.cluster.messages import Incoming, copy_settled, pieces
from ensemble.run_dir.leftovers import sweep_temporary
from ensemble.storage.hashing import hash_file
from tests.ensemble.oof.fake_ray import (
    FAILED,
    STARTED,
    cluster_config,
    fit_on,
    ray_that_says,
    stored_events,
)
from tests.ensemble.oof.prepared import prepared

if TYPE_CHECKING:
    from tests.fixture_types import Project


def test_a_damaged_checkpoint_does_not_end_the_fit(project: Project, node: Path) -> None:
    listing = {"state.json": "0" * 64}
    damaged = {"what": "checkpoint", "files": [("state.json", b"x")], "end": True}
    foreign = {"what": "checkpoint", "files": [("../x", b"x")], "end": True, "listing": {}}
    config, failures = cluster_config(project, [{"name": "t"}]), dict[str, Any]()
    ray = ray_that_says(STARTED, {**damaged, "listing": listing}, foreign, FAILED)
    fit_on(config, ray, (0,), failures)
    assert failures["t"].reason == "boom", "which came after"
    assert sum(event["event"] == "checkpoint refused" for event in stored_events(config)) == 2
    assert not [one for one in Path(config.run_dir).rglob("*") if one.name == "x"]


def test_what_a_killed_driver_has_received_in_part_is_swept(project: Project) -> None:
    run = prepared(project.config()).run
    for place in ("learners/t/fold-0", "checkpoints/t/fold-0-0123456789abcdef"):
        Incoming(run / place).take({"files": [("part", b"x")], "end": False})
    assert len(list(run.rglob("part"))) == 2
    sweep_temporary(run)
    assert not list(run.rglob("part"))


def test_names_from_a_node_stay_in_their_directory(tmp_path: Path) -> None:
    for name in ("../out", "/etc/out", "a/../../out", ""):
        incoming = Incoming(tmp_path / "place")
        with pytest.raises(errors.EnsembleError, match="no path inside"):
            incoming.take({"files": [(name, b"x")], "end": True})
    assert not (tmp_path / "out").exists()


def test_a_checkpoint_comes_in_pieces_and_keeps_what_has_not_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ensemble.oof.cluster.messages.PIECE", 1000)
    source, copy, place = (tmp_path / name for name in ("source", "copy", "place"))
    (source / "deep").mkdir(parents=True)
    large = os.urandom(5500)
    (source / "large").write_bytes(large)
    (source / "deep" / "small").write_bytes(b"")
    listing: dict[str, str] = {}
    for _ in range(2):
        listing = copy_settled(source, copy) or {}
        assert set(listing) == {"large", "deep/small"}
        changed = [n for n in listing if not (place / n).exists() or n == "deep/small"]
        incoming = Incoming(place)
        cut = list(pieces("checkpoint", copy, changed, listing=listing))
        ends = [incoming.take(json_less) for json_less in cut]
        assert ends == [False] * (len(cut) - 1) + [True]
        incoming.put_checkpoint(cut[-1]["listing"])
        assert (place / "large").read_bytes() == large
        assert {n: hash_file(place / n) for n in listing} == listing
        (source / "deep" / "small").write_bytes(b"more")
    damaged = Incoming(place)
    with pytest.raises(errors.ArtifactError, match="came back damaged"):
        damaged.put_checkpoint({**listing, "large": "0" * 64})
    assert (place / "large").read_bytes() == large and not damaged.stage.exists()


def test_a_damaged_file_of_a_node_is_fetched_again(tmp_path: Path) -> None:
    content = np.random.default_rng(0).bytes(100)
    source = tmp_path / "source"
    source.write_bytes(content)
    digest = hash_file(source)
    depot, parts = Depot(tmp_path / "depot", bytes), {digest: [content[:40], content[40:]]}
    depot.lay(tmp_path / "one", {"a/b": digest}, parts)
    blob = tmp_path / "depot" / "blobs" / digest
    assert (tmp_path / "one" / "a" / "b").read_bytes() == content
    assert oct(blob.stat().st_mode)[-3:] == "400"
    blob.chmod(0o600)
    blob.write_bytes(b"x" + content[1:])
    depot.lay(tmp_path / "two", {"a/b": digest}, parts)
    assert (tmp_path / "two" / "a" / "b").read_bytes() == content
    with pytest.raises(errors.EnsembleError, match="came to the node damaged"):
        depot.lay(tmp_path / "three", {"c": "0" * 64}, {"0" * 64: [content]})


def test_runs_of_workers_that_are_gone_are_removed(tmp_path: Path) -> None:
    depot = Depot(tmp_path, bytes)
    first = depot.new_run()
    host, pid = first.parent.name.rsplit("-", 2)[:2]
    assert pid == str(os.getpid())
    gone = tmp_path / "work" / f"{host}-999999999-00000000"
    elsewhere = tmp_path / "work" / "another-host-1-00000000"
    for place in (gone, elsewhere):
        place.mkdir()
    depot.new_run()
    assert not gone.exists() and elsewhere.exists() and first.exists()
