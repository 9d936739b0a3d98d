"""The template that a tokenizer gives is kept in the user's cache, and found again in doubt."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

from ensemble import errors
from ensemble.storage.user_cache import user_cache
from tests.plugins.language_model.quick_learners import make_learner

PACKAGE = "ensemble_plugins.language_model"
templates: Any = importlib.import_module(f"{PACKAGE}.model.templates")
weights: Any = importlib.import_module(f"{PACKAGE}.model.weights")
families: Any = importlib.import_module("tests.plugins.language_model.tiny_families")

SCRIPT = """
import sys
from tests.plugins.language_model.quick_learners import make_learner
learner = make_learner("causal-lora", sys.argv[1])
learner.dependencies(), learner.batch_tolerance, learner.resources
print(*{"torch", "transformers"} & {*sys.modules})
"""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Save a checkpoint with a chat template."""
    return Path(families.save("qwen3", tmp_path / "model"))


def kept() -> list[Path]:
    """List the files of templates in the cache."""
    return [*Path(os.environ["XDG_CACHE_HOME"]).rglob("templates/*.json")]


def template_of(source: Path, **options: Any) -> Any:
    """Ask as a new process would."""
    templates._resolved.cache_clear()
    return make_learner("causal-lora", source, **options).dependencies()["template"]


def test_a_template_is_found_once_for_all_processes(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = template_of(source)
    assert found["start"].startswith("<|im_start|>user\n")
    monkeypatch.setattr(weights, "load_tokenizer", lambda _: pytest.fail("it is kept"))
    assert template_of(source) == found
    assert len(kept()) == 1


def test_another_tokenizer_choice_or_version_finds_its_own(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = template_of(source)
    assert template_of(source, template="plain") != found
    chat = source / "chat_template.jinja"
    chat.write_text(chat.read_text().replace("assistant", "judge"))
    assert template_of(source)["end"].endswith("<|im_start|>judge\n")
    monkeypatch.setattr(templates, "version", lambda package: f"another {package}")
    template_of(source)
    assert len(kept()) == 4


def test_what_else_the_tokenizer_is_taken_from_finds_its_own(source: Path) -> None:
    template_of(source)
    config = json.loads((source / "config.json").read_text())
    (source / "config.json").write_text(json.dumps(config | {"tokenizer_class": "Other"}))
    template_of(source)
    assert len(kept()) == 2, "the config says of which class a tokenizer is"
    others = source / "additional_chat_templates"
    others.mkdir()
    chat = (source / "chat_template.jinja").read_text()
    for number, word in enumerate(("critic", "judge")):
        (others / "rag.jinja").write_text(chat.replace("assistant", word))
        found = template_of(source, template={"chat": "rag"})
        assert found["end"].endswith(f"<|im_start|>{word}\n")
        assert len(kept()) == 3 + number


def test_a_user_without_a_home_keeps_nothing(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", no_home)
    with pytest.raises(errors.EnsembleError, match=r"no home directory(.|\n)*XDG_CACHE_HOME"):
        user_cache("fits")
    assert template_of(source)["start"].startswith("<|im_start|>user\n")


@pytest.mark.parametrize("damage", [b"", b"{}", b'{"content": "0"}'])
def test_a_damaged_one_is_found_again(source: Path, damage: bytes) -> None:
    found = template_of(source)
    (file,) = kept()
    written = file.read_bytes()
    file.write_bytes(damage or written.replace(b"im_start", b"im_begin"))
    assert template_of(source) == found
    assert file.read_bytes() == written


def test_a_cache_that_cannot_be_written_is_no_fault(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = template_of(source)
    blocked = source / "no-directory"
    blocked.write_text("a file")
    monkeypatch.setenv("XDG_CACHE_HOME", str(blocked))
    assert template_of(source) == found


@pytest.mark.slow
def test_a_second_command_imports_no_models(source: Path) -> None:
    told = [
        subprocess.run(
            [sys.executable, "-c", SCRIPT, str(source)], check=True, capture_output=True, text=True
        ).stdout.split()
        for _ in range(2)
    ]
    assert sorted(told[0]) == ["torch", "transformers"]
    assert told[1] == [], "what names a fit is known without them"
