"""The page of a report as a page: well formed, harmless, and alike however often it is written."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from ensemble import errors
from ensemble.report.collect import collect
from ensemble.report.plots import agreement
from ensemble.report.write import write_report
from tests.ensemble.report.made_up_runs import Run, make_run, write_json
from tests.ensemble.report.pages import Page, section

pytestmark = pytest.mark.figures


def test_the_report_lies_in_the_run_directory(run: Run) -> None:
    assert write_report(run.path) == run.path / "report.html"
    assert [p.name for p in run.path.glob(".tmp-*")] == []


def test_a_missing_run_directory_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(errors.InputError, match="no such run directory"):
        write_report(tmp_path / "nowhere")


def test_the_page_is_well_formed_with_unique_ids(whole: tuple[Run, str]) -> None:
    page = Page(whole[1])
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) > 20
    assert sorted(set(ids), key=str) == sorted(ids, key=str)


def test_every_reference_inside_the_page_has_a_target(whole: tuple[Run, str]) -> None:
    page = Page(whole[1])
    ids = {attributes.get("id") for _, attributes in page.tags}
    links = {a["href"] for _, a in page.tags if a.get("href")}
    clips = set(re.findall(r"url\(([^)]*)\)", whole[1]))
    assert links
    assert {str(link).removeprefix("#") for link in links | clips} <= ids


def test_nothing_is_loaded_and_nothing_can_run(whole: tuple[Run, str]) -> None:
    page = Page(whole[1])
    assert not {tag for tag, _ in page.tags} & {
        "script",
        "link",
        "img",
        "iframe",
        "image",
        "object",
    }
    names = {name for _, attributes in page.tags for name in attributes}
    assert not {name for name in names if name.startswith("on") or name in {"src", "srcset"}}
    assert not re.search(r"https?:|@import|url\((?!#)", whole[1])
    policies = [a.get("content") for tag, a in page.tags if a.get("http-equiv")]
    assert policies == ["default-src 'none'; style-src 'unsafe-inline'"]


def test_hostile_text_is_shown_and_harmless(whole: tuple[Run, str]) -> None:
    html = whole[1]
    assert "<script" not in html
    assert not set(html) & set("\u202e\u2066\x07\x1b")
    shown = Page(html).text
    assert '<script>alert("x")</script><img src=x onerror=alert(1)>[U+202E]txt.exe' in shown
    assert "[U+0007][U+001B][31m '\"&" in shown


def test_hostile_names_are_harmless_in_figures_and_tables(drawn_run: Run) -> None:
    name = 'x"><script>$a_b$\u202e'
    (drawn_run.path / "learners" / "learner-0").rename(drawn_run.path / "learners" / "odd")
    candidates = json.loads(json.dumps(drawn_run.candidates).replace("learner-0", "odd"))
    candidates["candidates"][1]["name"] = name
    write_json(drawn_run.path / "stack" / "candidates.json", candidates)
    html = drawn_run.report()
    assert "<script" not in html
    assert Page(html).text.count('x"><script>$a_b$[U+202E]') >= 3


def test_lone_surrogates_in_json_do_not_break_the_file(run: Run) -> None:
    run.verdict["sentence"] = "odd \ud800 end"
    write_json(run.path / "stack" / "verdict.json", run.verdict)
    assert "odd [U+D800] end" in run.report()


@pytest.mark.slow
def test_the_same_run_gives_the_same_bytes(drawn_run: Run) -> None:
    first = drawn_run.report()
    assert drawn_run.report() == first


def test_long_texts_are_cut_and_counted(whole: tuple[Run, str]) -> None:
    words = section(whole[1], "errors")
    assert f"{6000 - 2000:,} more characters" in words
    assert max(len(part) for part in words.split("Response B")) < 6000


def test_null_and_empty_turns_are_told_apart(whole: tuple[Run, str]) -> None:
    words = section(whole[1], "errors")
    assert "(null)" in words
    assert "(empty)" in words


def test_learners_stand_in_the_order_of_the_config(run: Run) -> None:
    names = ["learner-2", "learner-0", "learner-1"]
    config = "\n".join(f'[[learners]]\nname = "{name}"' for name in names)
    (run.path / "config.toml").write_text(config)
    html = run.report()
    (first, _) = agreement(collect(run.path))
    assert first.label.endswith(", ".join(names))
    for part in ("learners", "timing"):
        found = re.findall(r"learner-\d", section(html, part))
        assert list(dict.fromkeys(found)) == names


def test_places_on_the_machine_are_not_shown(run: Run) -> None:
    home = "/home/someone/study"
    (run.path / "config.toml").write_text(
        f'run_dir = "{home}/arena"\npath = "{home}/data/train.csv"\n'
        '[[learners]]\nname = "learner-0"\n'
    )
    sources = json.loads((run.path / "battles.json").read_text())
    sources["sources"][0]["path"] = "/mnt/private/train.csv"
    sources["sources"][0]["bad_rows"][0]["file"] = "/mnt/private/train.csv"
    write_json(run.path / "battles.json", sources)
    manifest = run.path / "learners" / "learner-0" / "fold-0" / "manifest.json"
    parameters = {"parameters": {"file": f"{home}/lexicon.txt"}}
    write_json(manifest, json.loads(manifest.read_text()) | parameters)
    words = Page(run.report()).text
    assert "someone" not in words
    assert "/mnt/private" not in words
    assert 'run_dir = "./arena" path = "./data/train.csv"' in words
    assert 'file = "./lexicon.txt"' in words
    assert "arena target 100 2 train.csv" in words
    assert "train.csv, line 7: no label" in words


def test_the_navigation_has_the_words_of_the_headings(whole: tuple[Run, str]) -> None:
    links = re.findall(r'<a href="#(\w+)">([^<]+)</a>', whole[1])
    headings = re.findall(r'<section id="(\w+)">\s*<h2>([^<]+)</h2>', whole[1])
    assert links == headings
    assert len(links) == 11


def test_the_report_stands_alone(whole: tuple[Run, str]) -> None:
    assert "docs/" not in Page(whole[1]).text


def test_a_report_of_many_rows_stays_small(tmp_path: Path) -> None:
    made = make_run(tmp_path / "large", rows=2000, learners=6)
    assert len(made.report().encode()) < 1_000_000
