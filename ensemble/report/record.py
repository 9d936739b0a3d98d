"""What a run's report was made from, so that one of the same files is not made again.

The record is in ``cache/``: where it is gone, the report is made.
"""

from __future__ import annotations

from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from ensemble.audit.fingerprint import subject_of
from ensemble.errors import ArtifactError
from ensemble.run_dir.layout import AUDIT, COMPARISONS, REPORT, REPORT_RECORD, STUDIES, TRUTH
from ensemble.storage.hashing import fingerprint, hash_file, hash_tree
from ensemble.storage.json_files import read_checksummed, write_checksummed

if TYPE_CHECKING:
    from collections.abc import Iterator

_PAINTERS = ("matplotlib", "jinja2", "polars", "numpy")


def record_report(run: Path) -> None:
    """Note what a report that was written just now is made from; hold the run's lock."""
    made_from = _made_from(run)
    write_checksummed(
        run / REPORT_RECORD, {"made_from": made_from, "sha256": hash_file(run / REPORT)}
    )


def is_current_report(run: Path) -> bool:
    """Say whether the report is the one that was written, of what is there now."""
    try:
        record = read_checksummed(run / REPORT_RECORD, hint="run `ensemble report RUN`")
        written = record["sha256"] == hash_file(run / REPORT)
        return bool(written and record["made_from"] == _made_from(run))
    except (ArtifactError, OSError, KeyError):
        return False


def is_altered(run: Path) -> bool:
    """Say whether the report is another one than was written, or gone; False where none was."""
    try:
        record = read_checksummed(run / REPORT_RECORD, hint="run `ensemble report RUN`")
    except ArtifactError:
        return False
    return not (run / REPORT).is_file() or record.get("sha256") != hash_file(run / REPORT)


def _made_from(run: Path) -> str:
    """Name all that a report shows, and who writes it: 64 hex digits."""
    shown = {path.relative_to(run).as_posix(): hash_file(path) for path in _beside_subject(run)}
    place = "/".join(run.resolve().parts[-2:])
    return fingerprint([subject_of(run), shown, place, _writer()])


def _beside_subject(run: Path) -> Iterator[Path]:
    """Give the files that a report shows and no audit is of."""
    for name in (AUDIT, TRUTH):
        if (run / name).is_file():
            yield run / name
    for directory in (COMPARISONS, STUDIES):
        yield from sorted(path for path in (run / directory).glob("*.json") if path.is_file())


@cache
def _writer() -> str:
    """Name the code that writes reports: the toolkit's own, and what paints and lays out."""
    package = Path(__file__).parents[1]
    code = {
        path.relative_to(package).as_posix(): hash_tree(path)
        for path in sorted(package.rglob("*"))
        if path.suffix in (".py", ".j2", ".css", ".js", ".html")
    }
    return fingerprint([code, {name: version(name) for name in _PAINTERS}])
