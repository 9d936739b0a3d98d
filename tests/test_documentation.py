"""What the docs promise: examples run, generated pages are current, links hold."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import ensemble
from ensemble import run
from ensemble.config.load import parse_config
from ensemble.plugin import hookspecs

if TYPE_CHECKING:
    from tests.fixture_types import Project, UsePlugins

ROOT = Path(__file__).parent.parent
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))]


def _blocks(page: str, language: str) -> list[str]:
    text = (ROOT / page).read_text(encoding="utf-8")
    return re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL)


def test_generated_pages_are_current() -> None:
    check = [sys.executable, str(ROOT / "docs" / "generate.py"), "--check"]
    done = subprocess.run(check, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\((?!https?://)([^)#]+)", page.read_text(encoding="utf-8"))
    missing = [link for link in links if not (page.parent / link).exists()]
    assert not missing


def test_the_commands_of_contributing_are_those_of_the_makefile() -> None:
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    (phony,) = re.findall(r"^\.PHONY: (.+)$", text, flags=re.MULTILINE)
    told = re.findall(r"^make (\S+)", "".join(_blocks("CONTRIBUTING.md", "")), flags=re.MULTILINE)
    assert sorted(told) == sorted(phony.split())


def test_the_groups_of_contributing_are_those_of_the_project() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    page = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    told = re.findall(r"^\| `(\w[\w-]*)` \|", page, flags=re.MULTILINE)
    assert sorted(told) == sorted(project["dependency-groups"])


def test_the_layers_of_contributing_are_those_of_the_import_contract() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = project["tool"]["importlinter"]["contracts"]
    (layers,) = [c["layers"] for c in contracts if c.get("containers") == ["ensemble"]]
    (chain,) = [block for block in _blocks("CONTRIBUTING.md", "text") if "→" in block]
    assert " ".join(chain.split()).split(" → ") == [each.replace(" :", ",") for each in layers]


def test_the_changelog_begins_with_this_version() -> None:
    """After a section of what is not released, if there is one."""
    page = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    sections = re.findall(r"^## (.+)$", page, flags=re.MULTILINE)
    released = [section for section in sections if section != "Unreleased"]
    assert re.fullmatch(rf"{re.escape(ensemble.__version__)} - \d{{4}}-\d\d-\d\d", released[0])


def test_every_public_name_is_in_the_reference_once() -> None:
    page = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    told = re.findall(r"^\.\. auto\w+:: ensemble\.(\w+)$", page, flags=re.MULTILINE)
    assert sorted(told) == sorted(ensemble.__all__)


def test_no_page_installs_the_package_from_an_index() -> None:
    """It is on none."""
    installs = re.compile(r"pip install[^\n`]*preference-ensemble")
    wrong = [p.name for p in PAGES if installs.search(p.read_text(encoding="utf-8"))]
    assert not wrong


def test_the_configs_of_the_docs_are_valid(tmp_path: Path) -> None:
    blocks = [b for page in ("README.md", "docs/config.md") for b in _blocks(page, "toml")]
    whole = [block for block in blocks if "run_dir" in block]
    assert whole
    for block in whole:
        parse_config(tomllib.loads(block), tmp_path / "config.toml")


def test_every_config_key_is_documented() -> None:
    from ensemble import Config
    from ensemble.config.settings import Execution, Folds, Learner, Predict, Reading, Source, Stack

    page = (ROOT / "docs" / "config.md").read_text(encoding="utf-8")
    tables = (Config, Execution, Folds, Learner, Predict, Reading, Source, Stack)
    keys = {name for table in tables for name in table.model_fields}
    assert {key for key in keys if not re.search(rf"\b{key}\b", page)} <= {"loader", "options"}


def test_every_hook_is_documented_with_its_arguments() -> None:
    import inspect

    page = (ROOT / "docs" / "plugins.md").read_text(encoding="utf-8")
    for name, hook in vars(hookspecs).items():
        if hasattr(hook, "ensemble_spec"):
            arguments = ", ".join(inspect.signature(hook).parameters)
            assert f"`{name}({arguments})`" in page


def test_the_learner_of_the_docs_goes_through_a_whole_run(project: Project) -> None:
    (code,) = [block for block in _blocks("docs/plugins.md", "python") if "class Longer" in block]
    lines = [line for line in code.splitlines() if line.strip() and not line.startswith("#")]
    assert len(lines) <= 30
    (project.path / "my_learner.py").write_text(code, encoding="utf-8")
    table = next(block for block in _blocks("docs/plugins.md", "toml") if "my_learner.py" in block)
    done = run(project.config(tomllib.loads(table)["learners"]))
    assert (done.directory / "submission.csv").exists()


@pytest.mark.kit
@pytest.mark.slow
def test_the_learner_of_the_docs_passes_the_kit_and_beats_the_prior(tmp_path: Path) -> None:
    from ensemble.testing import check_base_learner

    (code,) = [block for block in _blocks("docs/plugins.md", "python") if "class Longer" in block]
    (tmp_path / "my_learner.py").write_text(code, encoding="utf-8")
    report = check_base_learner(f"{tmp_path}/my_learner.py:Longer")
    assert "held-out battles" not in {finding.what for finding in report.warnings}


@pytest.mark.slow
def test_the_other_plugins_of_the_docs_pass_the_kit(
    project: Project, use_plugins: UsePlugins
) -> None:
    from ensemble.testing import check_feature_set, check_loader, check_meta_learner

    (code,) = [block for block in _blocks("docs/plugins.md", "python") if "SHOUTING" in block]
    (project.path / "my_plugin.py").write_text(code, encoding="utf-8")
    votes = project.path / "votes.jsonl"
    votes.write_text(
        "".join(
            json.dumps(
                {
                    "id": str(i),
                    "prompt": ["q"],
                    "response_a": [f"a {i}"],
                    "response_b": ["b"],
                    "winner": "model_a",
                    "language": "en",
                }
            )
            + "\n"
            for i in range(3)
        )
    )
    place = str(project.path / "my_plugin.py")
    check_feature_set(f"{place}:SHOUTING")
    check_meta_learner(f"{place}:Median")
    check_loader(f"{place}:votes", votes)


@pytest.mark.slow
def test_the_examples_with_scikit_learn_run(project: Project, tmp_path: Path) -> None:
    """Its learners through a whole run, and its script as it stands."""
    pipelines, *script = _blocks("docs/sklearn.md", "python")
    assert pipelines.startswith("# my_pipelines.py")
    (project.path / "my_pipelines.py").write_text(pipelines)
    tables = [tomllib.loads(block) for block in _blocks("docs/sklearn.md", "toml")]
    learners = [learner for table in tables for learner in table.get("learners", ())]
    assert [one["name"] for one in learners] == ["trees", "linear", "words"]
    assert (run(project.config(learners)).directory / "submission.csv").exists()
    spaces: dict[str, Any] = {}
    exec(compile("\n".join(script), "sklearn.md", "exec"), spaces)  # noqa: S102 - our own docs
    assert spaces["oof"].shape == (300, 3)


def test_what_an_audit_cannot_see_is_said_in_the_same_words() -> None:
    """In the docs, and in every report."""
    from ensemble.audit.result import LIMITS

    said = (ROOT / "docs" / "honesty.md").read_text(encoding="utf-8").replace("`", "")
    words = " ".join(said.split())
    assert all(limit in words for limit in LIMITS)
