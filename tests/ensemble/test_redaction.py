"""Tokens and home directories in no log, stored config, error or report, whoever repeats them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

import ensemble
from ensemble import errors
from ensemble.config.load import load_config
from ensemble.redact import MASK, redact
from tests.fakes import Prior

if TYPE_CHECKING:
    from ensemble.plugin.base import Register
    from tests.fixture_types import Project, UsePlugins

TOKENS = {
    "Hugging Face": "hf_" + "aB3" * 12,
    "OpenAI": "sk-proj-" + "a1B2" * 8,
    "Anthropic": "sk-ant-api03-" + "a1B2" * 8,
    "GitHub": "ghp_" + "aB3d" * 9,
    "GitLab": "glpat-" + "aB3d" * 5,
    "AWS": "AKIA" + "ABCD2345" * 2,
    "AWS for a while": "ASIA" + "ABCD2345" * 2,
    "Google": "AIza" + "aB3-x" * 7,
    "Slack": "xoxb-" + "1234567890-abcdef",
    "npm": "npm_" + "aB3" * 12,
    "JWT": "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.c2lnbmF0dXJl",
    "a key": "-----BEGIN RSA PRIVATE KEY-----\nMIIBOgIBAAJBAK\n-----END RSA PRIVATE KEY-----",
}
SURROUNDINGS = ("{}", "401 for {} at https://x", "key={}", "'{}'", "token:{},", "<{}>", "a\n{}\nb")


@pytest.fixture(autouse=True)
def nothing_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget the secrets that configs of other tests have told this process."""
    monkeypatch.setattr("ensemble.redact._KNOWN", set())


@pytest.mark.parametrize("text", SURROUNDINGS)
@pytest.mark.parametrize("kind", TOKENS)
def test_a_token_is_masked_wherever_it_stands(kind: str, text: str) -> None:
    told = text.format(TOKENS[kind])
    assert redact(told) == text.format(MASK)
    error = errors.DataError(told, where=told, hint=told)
    assert TOKENS[kind] not in f"{error} {error.message} {error.where} {error.hint}"


@pytest.mark.parametrize(
    "text",
    [
        "half_" + "a" * 40,
        "task-" + "a1" * 20,
        "risk-of-2-losses-at-the-end-of-it",
        "a" * 64,
        "eyJ.a.b",
        "0123456789abcdef" * 4,
        "sk-learn",
        "fold-0, pair-0-1, hf_hub",
    ],
)
def test_what_is_no_token_stays(text: str) -> None:
    assert redact(text) == text


@pytest.mark.parametrize(
    "name", ["HF_TOKEN", "WANDB_API_KEY", "AWS_SECRET_ACCESS_KEY", "OPENAI_API_KEY", "DB_PASSWORD"]
)
def test_secrets_of_the_environment_are_masked(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "some-value-0815")
    assert redact("the server refuses some-value-0815") == f"the server refuses {MASK}"
    monkeypatch.setenv(name, "word")
    assert redact("a word") == "a word"


def test_the_current_directory_is_no_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PWD", "/data/project")
    assert redact("/data/project/x.csv") == "/data/project/x.csv"


def test_the_home_directory_is_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/alice")
    assert redact("/home/alice/x.csv:3, in '/home/alice'") == "~/x.csv:3, in '~'"
    assert redact("/home/alice2/x /mnt/home/alice/x") == "/home/alice2/x /mnt/home/alice/x"
    for home in ("/", ""):
        monkeypatch.setenv("HOME", home)
        assert redact("/data/x.csv") == "/data/x.csv"


class Leaky(Prior):
    """Repeats in its errors and logs whatever it can find."""

    def fit(self, *_: object, context: Any, **__: object) -> NoReturn:
        found = f"{os.environ['HF_TOKEN']} {Path.home()}/data {TOKENS['OpenAI']}"
        context.progress(0.5, found)
        raise RuntimeError(found)


class Plugins:
    @ensemble.hookimpl
    def register_base_learners(self, register: Register) -> None:
        register("leaky", Leaky)


def test_no_file_of_a_run_tells_a_token_or_the_home(
    project: Project, use_plugins: UsePlugins, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_plugins(leaky=Plugins())
    monkeypatch.setenv("HF_TOKEN", "a-token-0123456789")
    monkeypatch.setenv("HOME", str(project.path))
    learners = [{"name": "p", "plugin": "prior"}, {"name": "l", "plugin": "leaky"}]
    config = project.config(learners)
    with pytest.raises(errors.IncompleteRunError, match="l +fold 0") as caught:
        ensemble.run(config)
    told = f"{caught.value} {[str(one) for one in caught.value.failures]}"
    assert "a-token-0123456789" not in told and str(project.path) not in told
    hidden = [str(project.path).encode(), b"a-token-0123456789", TOKENS["OpenAI"].encode()]
    run = Path(config.run_dir)
    files = [p for p in run.rglob("*") if p.is_file()]
    found = [(p.relative_to(run), s) for p in files for s in hidden if s in p.read_bytes()]
    assert not found and (run / "report.html") in files


def test_the_stored_config_reads_back_the_same(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(project.path))
    config = project.config()
    ensemble.run(config)
    kept = Path(config.run_dir) / "config.toml"
    assert str(project.path) not in kept.read_text()
    assert load_config(kept) == config
