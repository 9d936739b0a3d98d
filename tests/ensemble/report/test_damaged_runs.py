"""Reports of runs of which a part is damaged."""

from __future__ import annotations

import polars as pl
import pytest

from ensemble import errors
from tests.ensemble.report.made_up_runs import Run
from tests.ensemble.report.pages import Page, section

pytestmark = pytest.mark.figures


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("folds.json", "{", "cannot be read"),
        ("folds.json", '{"n_splits": 3}', "not what was written"),
        ("battles.parquet", "PAR", "not what was written"),
        ("config.toml", "a = [", "not TOML"),
    ],
)
def test_damaged_files_are_errors_not_gaps(run: Run, name: str, content: str, message: str) -> None:
    (run.path / name).write_text(content)
    with pytest.raises(errors.ArtifactError, match=message) as caught:
        run.report(settle=False)
    assert caught.value.hint == "run `ensemble run CONFIG` again"


@pytest.mark.parametrize(
    ("name", "content", "gap"),
    [
        ("submission.csv", b"", "test"),
        ("submission.csv", b"id,winner_model_a\n1,2\n", "test"),
        ("stack/oof.parquet", b"PAR1", "candidates"),
        ("stack/oof.parquet", None, "candidates"),
        ("stack/verdict.json", b"{", "candidates"),
        ("stack/candidates.json", b"[1]", "candidates"),
        ("stack/manifest.json", b"[", "candidates"),
        ("stack/manifest.json", b"\xff\xfe", "candidates"),
        ("truth.json", b"{", None),
    ],
)
def test_a_damaged_by_product_is_pointed_out_and_its_section_not_measured(
    run: Run, name: str, content: bytes | None, gap: str | None
) -> None:
    place = run.path / name
    place.write_bytes(place.read_bytes()[:-40] if content is None else content)
    html = run.report(settle=False)
    Page(html)
    assert "Know before trusting" in html
    assert f"{place.name} is damaged: " in html
    if gap:
        assert "not measured" in section(html, gap)
    assert "not written yet" not in section(html, "test")


@pytest.mark.parametrize("place", [0, 0.1, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("bit", [0, 7])
def test_a_flipped_bit_in_the_battles_is_told_and_never_a_traceback(
    run: Run, place: float, bit: int
) -> None:
    path = run.path / "battles.parquet"
    content = bytearray(path.read_bytes())
    content[int(place * len(content))] ^= 1 << bit
    path.write_bytes(content)
    with pytest.raises(errors.ArtifactError, match="missing or not what was written"):
        run.report(settle=False)
    html = (run.path / "report.html").read_text(encoding="utf-8")
    assert "battles.parquet" in html
    assert run.verdict["chosen"] not in html


def test_no_file_of_the_stack_is_shown_that_is_not_what_was_written(run: Run) -> None:
    files = [path for path in (run.path / "stack").rglob("*") if path.is_file()]
    assert len(files) >= 4
    for path in files:
        content = path.read_bytes()
        path.write_bytes(content[:-2] + b" " + content[-1:])
        html = run.report(settle=False)
        assert "is damaged: " in html, path
        assert "not measured" in section(html, "candidates"), path
        path.write_bytes(content)


def test_a_battle_that_the_stack_predicts_twice_is_pointed_out(run: Run) -> None:
    place = run.path / "stack" / "oof.parquet"
    table = pl.read_parquet(place)
    pl.concat([table, table.head(1)]).write_parquet(place)
    html = run.report()
    assert "oof.parquet is damaged: a battle is predicted more than once" in html
    assert "not measured" in section(html, "candidates")
