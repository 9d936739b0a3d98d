"""Damage at rest in every kind of file of a run: found, named, mended by a rerun, never used.

A sample that has every kind of file, of damage, and every verb; all of them with
``ENSEMBLE_TEST_FAULTS=all``.
"""

from __future__ import annotations

import json
import random
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from ensemble.config.load import config_fault
from ensemble.run_dir.damaged import damaged_records
from ensemble.storage.directories import MANIFEST, read_manifest
from tests.ensemble.faults import damage as damages
from tests.ensemble.faults.rich_run import PLUGINS, STUDY, events, make_rich_run
from tests.ensemble.faults.small_runs import ALL, SEED, Ended, SmallRun, cheap, verb

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.ensemble.faults.damage import Damage
    from tests.fixture_types import MakeBattles, WriteCsv

pytestmark = pytest.mark.slow

VERBS: dict[str, tuple[str, ...]] = {
    "prepare": ("prepare", "CONFIG", "--json"),
    "split": ("split", "CONFIG", "--json"),
    "fit": ("fit", "CONFIG", "--json"),
    "stack": ("stack", "CONFIG", "--json"),
    "predict": ("predict", "RUN", "--json"),
    "predict --test": ("predict", "RUN", "--test", "new.csv", "--output", "out.csv"),
    "report": ("report", "RUN"),
    "audit": ("audit", "RUN", "--json"),
    "audit --deep": ("audit", "RUN", "--deep", "--json"),
    "status": ("status", "RUN", "--json"),
    "compare": ("compare", "RUN", "flat", "words", "--json"),
    "compare stack": ("compare", "RUN", "stack", "mean", "--json"),
    "plan": ("plan", "CONFIG", "--json"),
    "merge": ("merge", "RUN", "other", "--json"),
    "merge --dry-run": ("merge", "RUN", "other", "--dry-run", "--json"),
    "merge into other": ("merge", "other", "RUN", "--dry-run", "--json"),
    "review": ("review", "RUN", "--rows", "3", "--json"),
    "sources": ("sources", "CONFIG", *STUDY, "--json"),
    "slurm": ("slurm", "CONFIG", "--json"),
    "validate": ("validate", "run/submission.csv", "--test", "test.csv"),
}
WRITTEN = {
    "predict": "run/submission.csv",
    "predict --test": "out.csv",
    "stack": "run/stack/verdict.json",
}
FREE = ("cache/", "events.jsonl", ".lock", "slurm/", "review.csv")
"""What may be deleted at any time, is only added to, or belongs to the user."""
BY_OTHERS = {
    "comparisons/": "compare",
    "review.json": "review",
    "sources/": "sources",
}
"""What is no part of `run`, and the verb that makes it."""
FOR_GOOD = ("truth.json", "plugins/", "kept.json")
"""What nobody can make again: what it said is named as lost, and nothing is made of it."""
_VOLATILE = {"content", "subject", "made_from", "sha256", "host", "files", "path"}


class Rich(NamedTuple):
    """The run, a copy of it as it was made, and what verbs say of it."""

    run: SmallRun
    copy: Path
    said: dict[str, str]
    versions: dict[str, tuple[int, ...]]

    def restored(self) -> SmallRun:
        """Put back what was changed since it was called last."""
        now = self._versions()
        for name in now.keys() - self.versions.keys():
            (self.run.directory / name).unlink()
        for name in [name for name, known in self.versions.items() if now.get(name) != known]:
            place = self.run.directory / name
            place.parent.mkdir(parents=True, exist_ok=True)
            place.unlink(missing_ok=True)
            shutil.copy2(self.copy / name, place)
        self.versions.update(self._versions())
        return self.run

    def _versions(self) -> dict[str, tuple[int, ...]]:
        found = {name: (self.run.directory / name).lstat() for name in self.run.files()}
        return {
            name: (one.st_ino, one.st_size, one.st_mtime_ns, one.st_ctime_ns)
            for name, one in found.items()
        }

    def ask(self, name: str) -> tuple[Ended, str]:
        """Run a verb; gives how it ended, and what it found, without what time changes."""
        own = {"CONFIG": "config.toml", "RUN": "run"}
        (self.run.place / "out.csv").unlink(missing_ok=True)
        ended = verb(*(own.get(word, word) for word in VERBS[name]), cwd=self.run.place)
        written = self.run.place / WRITTEN.get(name, "nothing")
        told = ended.out + (written.read_text() if written.is_file() else "")
        volatile = r'("disk_bytes"|"subject"|"content"|"\w*seconds\w*"): [^,\n]+'
        return ended, f"{ended.code} {re.sub(volatile, '', told)}"


@pytest.fixture
def rich(
    tmp_path: Path,
    make_battles: MakeBattles,
    write_csv: WriteCsv,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Rich]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    with cheap(**PLUGINS):
        run = make_rich_run(tmp_path, make_battles, write_csv)
        shutil.copytree(run.directory, tmp_path / "copy")
        yield Rich(run, tmp_path / "copy", {}, dict.fromkeys(run.files(), ()))


def kind_of(name: str) -> str:
    """Name a kind of file: what differs by learner, fold, seed or digest is left out."""
    name = re.sub("[0-9a-f]{12,}", "#", name)
    name = re.sub("sources/fits/.*/learners", "sources/fits/learners", name)
    name = re.sub(r"learners/\w+", "learners/NAME", name)
    return re.sub("(?<=[-/])[0-9]+", "#", name)


def cases(run: SmallRun) -> Iterator[tuple[str, Damage]]:
    """Choose which file has which damage: of each kind one, with a digit and another damage."""
    draw = random.Random(SEED)
    kinds: dict[str, list[str]] = {}
    for name in sorted(run.files()):
        if not name.startswith(FREE):
            kinds.setdefault(kind_of(name), []).append(name)
    for names in kinds.values():
        can = [one for one in damages.DAMAGES if damages.can_be(run.directory / names[0], one)]
        others = [one for one in can if one != "digit"]
        for one in can if ALL else [*(one for one in can if one == "digit"), draw.choice(others)]:
            yield draw.choice(names), one


def damaged(rich: Rich, name: str, one: Damage) -> SmallRun:
    run = rich.restored()
    damages.do(run.directory / name, one, random.Random(f"{SEED} {name} {one}"))
    return run


def test_no_verb_believes_what_is_damaged(rich: Rich) -> None:
    draw, faults, names = random.Random(SEED), [], list(VERBS)
    for which in VERBS:
        rich.restored()
        rich.said[which] = rich.ask(which)[1]
    for number, (name, one) in enumerate(cases(rich.run)):
        every = names if ALL else [names[number % len(names)], *draw.sample(names, 3)]
        for which in every:
            damaged(rich, name, one)
            faults += [f"{name}, {one}, {which}: {fault}" for fault in believed(rich, which, name)]
    assert not faults, "\n".join(faults)


def believed(rich: Rich, which: str, name: str) -> Iterator[str]:
    """Ask a verb, and say where it has taken damage for what was written."""
    ended, found = rich.ask(which)
    if "Traceback" in ended.err or ended.code not in (0, 1, 2):
        yield f"ended with {ended.code}: {ended.err[-1500:]}"
    elif found == rich.said[which]:
        return  # it does not read the file, or has mended it first
    elif not is_named(ended.told + (report_of(rich) if which == "report" else ""), name):
        yield f"not named: {ended.err[-500:]} {other_lines(rich.said[which], found)}"
    elif ended.code and "error: " in ended.err and "hint: " not in ended.err:
        yield f"no hint: {ended.err}"


def other_lines(before: str, now: str) -> str:
    """Show what a verb says otherwise."""
    known = set(before.splitlines())
    return " | ".join(line for line in now.splitlines() if line not in known)[:700]


def report_of(rich: Rich) -> str:
    return (rich.run.directory / "report.html").read_text(errors="replace")


def is_named(told: str, name: str) -> bool:
    """Say whether a file, or the fit or plugin that it is a part of, is named."""
    parts = Path(name).parts
    if parts[-1] in told or "/".join(parts[:2]) in told:
        return True
    if "learners" in parts:
        learner, fit = parts[parts.index("learners") + 1 :][:2]
        kind, _, folds = fit.partition("-")
        return learner in told and re.search(f'{kind}[- ]?{folds}|"{folds}"', told) is not None
    if name == "holdout.json" and "hold-out" in told:
        return True
    if name == "submission.csv" and '"submission": null' in told:
        return True
    return parts[0] in ("plugins", "kept.json") and "words" in told


def test_a_rerun_names_and_mends_what_is_damaged(rich: Rich) -> None:
    faults = []
    for name, one in cases(rich.run):
        if name.startswith("sources/fits/"):
            continue  # `sources` alone reads them
        damaged(rich, name, one)
        faults += [f"{name}, {one}: {fault}" for fault in unmended(rich, name, one)]
    assert not faults, "\n".join(faults)


def test_what_may_be_deleted_may_be_damaged(rich: Rich) -> None:
    """Caches, logs and scripts: no verb minds, and nothing is made of them."""
    assert not list(damaged_records(rich.run.directory))
    assert config_fault(rich.run.directory) is None
    assert not json.loads(verb("status", rich.run.directory, "--json").out)["damaged"]
    draw = random.Random(SEED)
    free = [name for name in sorted(rich.run.files()) if name.startswith(FREE[:-1])]
    for name in [name for name in free if name != ".lock"]:
        can = [one for one in damages.DAMAGES if damages.can_be(rich.copy / name, one)]
        for one in can if ALL else draw.sample(can, 2):
            run = damaged(rich, name, one)
            before = len(events(run))
            for words in (("status", "run"), ("run", "config.toml"), ("audit", "run", "--json")):
                ended = verb(*words, cwd=run.place)
                assert "Traceback" not in ended.err, (name, one, ended)
                assert "error: " not in ended.err, (name, one, ended)
            assert run.submission() == (rich.copy / "submission.csv").read_bytes()
            new = events(run)[before if name != "events.jsonl" else 0 :]
            since = new if name != "events.jsonl" else new[-20:]
            assert not list(wrongly_redone(since, "")), (name, one)


def unmended(rich: Rich, name: str, one: Damage) -> Iterator[str]:
    """Run again, and say what of the run is not as it was, or was mended without a word."""
    run, before = rich.run, len(events(rich.run))
    ended = verb("run", run.config, cwd=run.place)
    new = events(run)[before:]
    told = ended.told + json.dumps(new)
    if not is_named(told, name) and not (one == "gone" and is_of_no_run(name)):
        yield "not named"
    if "Traceback" in ended.err:
        yield ended.err
    if name == "kept.json" and one != "gone":  # what the user has said, nobody else can say
        yield from [] if ended.code == 1 and "hint: " in ended.err else [ended.told]
        return
    if ended.code:
        yield f"it ended with {ended.code}: {ended.err[-1500:]}"
        return
    if run.submission() != (rich.copy / "submission.csv").read_bytes():
        yield "another submission"
    yield from wrongly_redone(new, name)
    yield from not_as_before(rich, name)


def is_of_no_run(name: str) -> bool:
    """Say whether nobody can know that a file was there: one of other verbs, or of other code.

    Or it only lists what the config asks for, or is made by each run, as an audit.
    """
    return name.startswith((*BY_OTHERS, *FOR_GOOD, "jobs.json", "audit.json"))


def wrongly_redone(new: list[dict[str, Any]], name: str) -> Iterator[str]:
    """Say which finished jobs were done again that nothing is wrong with."""
    for event in new:
        if event["event"].endswith((" fitted", " averaged")) and name != "kept.json":
            (what,) = {"fold", "pair", "refit", "soup"} & event.keys() or {"fold"}
            told = f"learners/{event['learner']}/"
            if not name.startswith(told):
                yield f"a finished job again: {what} {event}"


def not_as_before(rich: Rich, name: str) -> Iterator[str]:
    """Say in what a file, or what other files there are, differs from before the damage."""
    other = next((verb for start, verb in BY_OTHERS.items() if name.startswith(start)), None)
    if other is not None:
        rich.ask(other)
    place, before = rich.run.directory / name, rich.copy / name
    if name.startswith((*FOR_GOOD, "tries/")):
        return
    if not place.is_file():
        yield "it is still not there"
    elif place.name == MANIFEST:
        if read_manifest(place.parent)["key"] != json.loads(before.read_text())["key"]:
            yield "another key"
    elif plain(place) != plain(before):
        yield "it has another content"
    odd = rich.run.files() ^ {
        path.relative_to(rich.copy).as_posix() for path in rich.copy.rglob("*") if path.is_file()
    }
    if odd - {name}:
        yield f"other files: {sorted(odd)}"


def plain(path: Path) -> Any:
    """Give what a file holds, without what time changes."""
    if path.suffix == ".html":
        return "is damaged" in path.read_text()
    return _steady(json.loads(path.read_text())) if path.suffix == ".json" else path.read_bytes()


def _steady(value: Any) -> Any:
    if isinstance(value, dict):
        kept = {k: v for k, v in value.items() if k not in _VOLATILE and "seconds" not in k}
        return {key: _steady(item) for key, item in kept.items()}
    return [_steady(item) for item in value] if isinstance(value, list) else value
