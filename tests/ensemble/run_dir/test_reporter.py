from __future__ import annotations

import errno
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from ensemble import errors
from ensemble.run_dir.layout import EVENTS
from ensemble.run_dir.reporter import Reporter, Silent


def _events(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / EVENTS).read_text(encoding="utf-8").splitlines()]


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "open", refuse)


@pytest.mark.parametrize(
    ("error", "event"),
    [(ValueError("no luck"), "stage failed"), (KeyboardInterrupt(), "stage interrupted")],
)
def test_a_stage_records_how_it_ends(tmp_path: Path, error: BaseException, event: str) -> None:
    reporter = Reporter(tmp_path)
    with reporter.stage("prepare"):
        reporter.event("source", rows=3)
    with pytest.raises(type(error), match="no luck|^$"), reporter.stage("fit"):
        raise error
    assert [line["event"] for line in _events(tmp_path)] == [
        "stage started",
        "source",
        "stage done",
        "stage started",
        event,
    ]


def test_events_are_json_lines_with_their_time_in_order(tmp_path: Path) -> None:
    before = datetime.now(UTC).replace(microsecond=0)
    reporter = Reporter(tmp_path)
    for count in range(3):
        reporter.event("source", name="Üñï\n\u2028 \u4e2d", rows=count)
    Reporter(tmp_path).event("later")  # another process of the same run appends
    lines = (tmp_path / EVENTS).read_bytes().split(b"\n")
    assert lines.pop() == b""
    events = [json.loads(line) for line in lines]
    times = [datetime.fromisoformat(event.pop("time")) for event in events]
    moments = [before, *times, datetime.now(UTC)]
    assert moments == sorted(moments)
    assert all(time.tzinfo == UTC for time in times)
    text = "Üñï\n\u2028 \u4e2d"
    assert events[:3] == [{"event": "source", "name": text, "rows": i} for i in range(3)]
    assert events[3] == {"event": "later"}


def test_what_ended_a_stage_is_written_beside_it(tmp_path: Path) -> None:
    reporter = Reporter(tmp_path)
    with (
        pytest.raises(ValueError, match="no luck"),
        reporter.stage("fit"),
        reporter.stage("fold"),
    ):
        raise ValueError("no luck")
    ends = [(line["event"], line["stage"], line.get("error")) for line in _events(tmp_path)]
    assert ends == [
        ("stage started", "fit", None),
        ("stage started", "fold", None),
        ("stage failed", "fold", "ValueError: no luck"),
        ("stage failed", "fit", "ValueError: no luck"),
    ]


def test_the_traceback_of_a_cause_is_kept_and_an_error_of_ours_needs_none(tmp_path: Path) -> None:
    def breaks() -> None:
        raise ValueError("no luck \udc80")

    reporter = Reporter(tmp_path)
    with pytest.raises(errors.LearnerError, match="fit raised"), reporter.stage("fit"):
        try:
            breaks()
        except ValueError as error:
            raise errors.LearnerError("fit raised ValueError") from error
    with pytest.raises(KeyError, match="odd"), reporter.stage("fit"):
        raise KeyError("odd")
    with pytest.raises(errors.LearnerError, match="plain"), reporter.stage("fit"):
        raise errors.LearnerError("plain")
    caused, odd, plain = (e for e in _events(tmp_path) if e["event"] == "stage failed")
    assert "in breaks" in caused["traceback"]
    assert caused["traceback"].endswith("ValueError: no luck \udc80\n")
    assert odd["traceback"].startswith("Traceback")
    assert "traceback" not in plain


def test_a_display_is_passed_on_to_and_none_is_silence(tmp_path: Path) -> None:
    class Seen(Silent):
        said: list[str] = []  # noqa: RUF012 - one instance

        def log(self, text: str) -> None:
            self.said.append(text)

    for display in (None, Seen()):
        reporter = Reporter(tmp_path, display)
        reporter.log("hello")
        with reporter.progress("fit") as progress:
            progress(0.5, "half")
    assert Seen.said == ["hello"]
    assert not (tmp_path / EVENTS).exists()


@pytest.mark.usefixtures("full_disk")
def test_a_full_disk_is_an_error_of_ours(tmp_path: Path) -> None:
    with pytest.raises(
        errors.EnsembleError, match="cannot write: No space left(.|\\n)*events.jsonl"
    ):
        Reporter(tmp_path).event("source")


@pytest.mark.parametrize("error", [ValueError("the true error"), KeyboardInterrupt("true error")])
def test_a_full_disk_does_not_hide_the_error_of_a_stage(
    tmp_path: Path, request: pytest.FixtureRequest, error: BaseException
) -> None:
    with pytest.raises(type(error), match="true error"), Reporter(tmp_path).stage("fit"):
        request.getfixturevalue("full_disk")
        raise error


@pytest.mark.parametrize("torn", [b'{"event": "ha', b'{"event": "half"}', b"\xff\x00"])
def test_an_event_after_a_torn_line_has_a_line_of_its_own(tmp_path: Path, torn: bytes) -> None:
    (tmp_path / "events.jsonl").write_bytes(b'{"event": "before"}\n' + torn)
    Reporter(tmp_path).event("after")
    Reporter(tmp_path).event("later")
    lines = (tmp_path / "events.jsonl").read_bytes().split(b"\n")
    assert lines[:2] == [b'{"event": "before"}', torn]
    assert [json.loads(line)["event"] for line in lines[2:4]] == ["after", "later"]
    assert lines[4:] == [b""]
