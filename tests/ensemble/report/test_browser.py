"""The report in a real browser: nothing fails, nothing is loaded, and nothing is cut off."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from dataclasses import dataclass, field
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from tests.ensemble.report.made_up_runs import Run, make_run

CHROMIUM = shutil.which("chromium")
WIDTHS = (400, 1200)
SCHEMES = ("dark", "light")
"""As Chromium counts them."""

pytestmark = [
    pytest.mark.figures,
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium"),
]

# A window of Chromium has a least width, a frame has none. The report runs no script, but its
# frame can be looked into from a page beside it.
FRAMES = """<!doctype html>
<meta charset="utf-8"><meta name="color-scheme" content="light dark">
<style>iframe { border: 0; height: 900px }</style>
%s
<pre id="found"></pre>
<script>
const name = element => {
  const words = (element.textContent || "").trim().replace(/\\s+/g, " ").slice(0, 60);
  return `${element.tagName} ${element.getAttribute("class") || ""}: ${words}`;
};
const look = frame => {
  const view = frame.contentWindow, page = frame.contentDocument, found = [];
  page.querySelectorAll("details").forEach(details => { details.open = true; });
  for (const element of page.body.querySelectorAll("*")) {
    const style = view.getComputedStyle(element), box = element.getBoundingClientRect();
    if (element.ownerSVGElement) {
      const figure = element.ownerSVGElement.getBoundingClientRect();
      const off = box.left < figure.left - 2 || box.right > figure.right + 2;
      if (element.tagName === "text" && off) found.push(`outside its figure: ${name(element)}`);
      continue;
    }
    const scrolls = ["auto", "scroll"].includes(style.overflowX);
    const wide = style.display !== "inline" && element.scrollWidth > element.clientWidth + 1;
    if (wide && !scrolls) found.push(`wider than its box: ${name(element)}`);
    const high = element.scrollHeight > element.clientHeight + 1;
    if (high && style.overflowY === "hidden") found.push(`cut off below: ${name(element)}`);
    const scroller = element.closest(".scroll, .turn, pre");
    if (!scroller && (box.left < -1 || box.right > view.innerWidth + 1))
      found.push(`beside the page: ${name(element)}`);
  }
  return {
    width: view.innerWidth,
    page_width: page.documentElement.scrollWidth,
    dark: view.matchMedia("(prefers-color-scheme: dark)").matches,
    background: view.getComputedStyle(page.body).backgroundColor,
    sections: page.querySelectorAll("section").length,
    loaded: view.performance.getEntriesByType("resource").map(entry => entry.name),
    found,
  };
};
addEventListener("load", () => {
  const looks = [...document.querySelectorAll("iframe")].map(look);
  document.getElementById("found").textContent = JSON.stringify(looks);
});
</script>
"""


@dataclass(frozen=True)
class Seen:
    """What a browser shows of a page in a frame of some width."""

    width: int
    page_width: int
    dark: bool
    background: str
    sections: int
    loaded: list[str]
    found: list[str]
    console: list[str] = field(default_factory=list)


def open_page(page: Path, scheme: str, place: Path) -> list[Seen]:
    """Open a page from its file, in a frame of each width."""
    assert CHROMIUM is not None
    frames = "".join(
        f'<iframe style="width: {width}px" src="{page.as_uri()}"></iframe>' for width in WIDTHS
    )
    around = place / "frames.html"
    around.write_text(FRAMES % frames, encoding="utf-8")
    command = [
        CHROMIUM,
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--hide-scrollbars",
        "--no-first-run",
        "--allow-file-access-from-files",  # so that the page around may look into its frames
        f"--user-data-dir={place / 'profile'}",
        f"--blink-settings=preferredColorScheme={SCHEMES.index(scheme)}",
        "--window-size=1700,1000",
        "--enable-logging=stderr",
        "--virtual-time-budget=5000",
        "--dump-dom",
        around.as_uri(),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    found = re.search(r'<pre id="found">(.+?)</pre>', done.stdout, re.DOTALL)
    assert found is not None, done.stderr[-2000:]
    console = re.findall(r"CONSOLE[^\]]*\] (.*)", done.stderr)
    seen: list[dict[str, Any]] = json.loads(unescape(found[1]))
    return [Seen(**one, console=console) for one in seen]


@pytest.fixture(scope="module", params=SCHEMES)
def scheme(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def faults(seen: Seen) -> list[str]:
    """Say what is wrong with a page as it is seen in one frame."""
    told = [f"the console: {line}" for line in seen.console]
    told += [f"loaded: {address}" for address in seen.loaded]
    if seen.page_width > seen.width:
        told.append(f"the page is {seen.page_width} pixels wide")
    return told + seen.found


def test_nothing_fails_and_nothing_is_cut_off(
    whole: tuple[Run, str], scheme: str, tmp_path: Path
) -> None:
    both = open_page(whole[0].path / "report.html", scheme, tmp_path)
    assert [seen.width for seen in both] == list(WIDTHS)
    for seen in both:
        assert faults(seen) == []
        assert seen.sections >= 11
        assert seen.dark == (scheme == "dark")
        assert (max(map(int, re.findall(r"\d+", seen.background))) < 60) == seen.dark


def test_long_names_and_many_learners_fit(tmp_path: Path) -> None:
    made = make_run(tmp_path / "a-run-with-a-long-name" / "of-many-words", learners=7)
    long = "a-learner_with.a-name-of-sixty-letters_that_nobody_would_type"
    (made.path / "learners" / "learner-0").rename(made.path / "learners" / long)
    stack = made.path / "stack" / "candidates.json"
    for place in (stack, made.path / "config.toml"):
        place.write_text(place.read_text().replace("learner-0", long))
    made.report()
    for seen in open_page(made.path / "report.html", "light", tmp_path):
        assert faults(seen) == []


def test_what_is_wrong_with_a_page_is_seen(whole: tuple[Run, str], tmp_path: Path) -> None:
    harm = """
    <img src="https://example.org/x.png" alt="">
    <p style="width: 1300px; max-width: none">broad</p>
    <p style="width: 9em; white-space: nowrap">long long long long long long long long</p>
    <p style="height: 1em; overflow: hidden">first<br>second</p>
    """
    page = tmp_path / "report.html"
    page.write_text(whole[1].replace("<main>", f"<main>{harm}"), encoding="utf-8")
    for seen in open_page(page, "light", tmp_path):
        told = "\n".join(faults(seen))
        assert re.search("the console: .*example.org", told)
        assert re.search("the page is 1[0-9]{3} pixels wide", told)
        assert "beside the page: P : broad" in told
        assert "wider than its box: P : long" in told
        assert "cut off below: P : first" in told
