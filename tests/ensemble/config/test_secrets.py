"""Tokens and passwords: never stored, never shown, and another one is seen."""

from __future__ import annotations

import json
import shutil
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest

from ensemble import Config, errors, hookimpl, run
from ensemble.audit.audit import audit_run
from ensemble.config.load import load_config, load_run_config
from ensemble.config.secrets import secret_digests
from ensemble.stages.prepare import prepare_stage
from ensemble.stages.work import writing
from ensemble.submission.new_rows import predict_file
from ensemble_plugins.tfidf import Tfidf
from tests.ensemble.config.secret_values import LOADER_TOKEN, PASSWORD, TOKEN, URL
from tests.fakes import Prior

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Self

    from ensemble.plugin.base import Register
    from tests.fixture_types import Project, UsePlugins

WRONG = "wrong-token"


class WithToken(Tfidf):
    """Needs a token where it works, and says what it was given."""

    given: list[Any] = []  # noqa: RUF012

    def __init__(
        self, api_token: str | None = None, endpoints: list[str] | None = None, depth: int = 1
    ) -> None:
        super().__init__(char_ngrams=(1, 2), min_df=1)
        self.api_token, self.endpoints, self.depth = api_token, endpoints, depth

    def fit(self, *arguments: Any, **options: Any) -> Self:
        self.given.append((self.api_token, self.endpoints))
        return super().fit(*arguments, **options)

    def dependencies(self) -> dict[str, Any]:
        return {"service": {"token": self.api_token, "version": 2}}


class Plugins:
    """A learner and a loader that need secrets."""

    tokens: list[Any] = []  # noqa: RUF012

    @hookimpl
    def register_base_learners(self, register: Register) -> None:
        register("with-token", WithToken)

    @hookimpl
    def register_loaders(self, register: Register) -> None:
        def load(path: Path, *, token: str, account: dict[str, Any]) -> pl.DataFrame:
            self.tokens.append((token, account))
            if token == WRONG:
                raise RuntimeError(f"401 for {token} at {URL}")
            return pl.read_csv(path)

        register("call_plugin", load)


@pytest.fixture
def secretive(project: Project, use_plugins: UsePlugins) -> Callable[..., Config]:
    """Give a function that writes a config with secrets, and loads it."""
    use_plugins(secrets=Plugins())
    WithToken.given.clear()
    Plugins.tokens.clear()

    def write(token: Any = TOKEN, loader_token: Any = LOADER_TOKEN, **learner: Any) -> Config:
        options = {"token": loader_token, "account": {"user": "me", "password": PASSWORD}}
        source = {"name": "arena", "path": "train.csv", "role": "target"}
        named = {"name": "t", "plugin": "with-token", "api_token": token, "endpoints": [URL]}
        config: Config = project.config(
            [named | learner],
            sources=[source | {"loader": "call_plugin", "options": options}],
        )
        return config

    return write


def _texts(place: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in place.rglob("*") if path.is_file()}


def _keys(place: Path) -> list[str]:
    manifests = sorted(place.glob("learners/*/*/manifest.json"))
    return [json.loads(path.read_text())["key"] for path in manifests]


def test_no_file_of_a_run_holds_a_secret(secretive: Callable[..., Config]) -> None:
    place = run(secretive()).directory
    assert WithToken.given[0] == (TOKEN, [URL])
    assert Plugins.tokens[0] == (LOADER_TOKEN, {"user": "me", "password": PASSWORD})
    for path, content in _texts(place).items():
        for secret in (TOKEN, LOADER_TOKEN, PASSWORD):
            assert secret.encode() not in content, path
    assert audit_run(place).ok


def test_another_secret_of_a_loader_fits_nothing_where_it_loads_the_same(
    secretive: Callable[..., Config],
) -> None:
    place = run(secretive()).directory
    key = json.loads((place / "battles.json").read_text())["key"]
    fitted = len(WithToken.given)
    run(secretive(TOKEN, "another-loader-token"))
    assert json.loads((place / "battles.json").read_text())["key"] != key
    assert len(WithToken.given) == fitted
    assert audit_run(place).ok


@pytest.mark.slow
def test_another_secret_is_as_other_code(
    secretive: Callable[..., Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    place = run(secretive()).directory
    before = _keys(place)
    run(secretive("another-token"))  # it is cheap: made anew, with a word
    assert "the secret api_token is another" in (place / "events.jsonl").read_text()
    assert not {*_keys(place)} & {*before}
    monkeypatch.setattr(WithToken, "cheap", False)
    with pytest.raises(errors.ConfigError, match=r"secret api_token is another(.|\n)*--keep t"):
        run(secretive())
    before, fitted = _keys(place), len(WithToken.given)
    run(secretive(), keep=["t"])
    assert _keys(place) == before
    assert len(WithToken.given) == fitted
    monkeypatch.setenv("T_API_TOKEN", "a-third-token")
    audit = audit_run(place)
    assert audit.state == "unproven"
    assert "the secret api_token is another" in audit.sentence
    monkeypatch.delenv("T_API_TOKEN")
    monkeypatch.setenv("T_ENDPOINTS_1", "another-password")
    assert "the secret endpoints.1 is another" in audit_run(place).sentence


def test_a_digest_of_a_secret_does_not_tell_it(monkeypatch: pytest.MonkeyPatch) -> None:
    values = {"token": "1234", "nested": [{"password": "x"}], "at": "https://me:pw@host", "n": 1}
    digests = secret_digests(values)
    assert sorted(digests) == ["at", "nested.1.password", "token"]
    assert all(len(str(digest)) == 5 for digest in digests.values())
    assert digests["token"] != secret_digests({"token": "1235"})["token"]
    assert digests["token"] != secret_digests({"api_token": "1234"})["api_token"]
    named = {"token": {"env": "PIN"}, "nested": [{"password": {"env": "MINE"}}]}
    named |= {"at": "https://me:${WEB}@host"}
    assert secret_digests(named) == dict.fromkeys(digests)
    for name, value in (("PIN", "1234"), ("MINE", "x"), ("WEB", "pw")):
        monkeypatch.setenv(name, value)
    assert secret_digests(named) == digests


@pytest.mark.slow
def test_a_secret_is_read_from_the_environment(
    secretive: Callable[..., Config], project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = run(secretive()).directory
    keys = [
        json.loads(path.read_text())["key"] for path in plain.glob("learners/*/*/manifest.json")
    ]
    shutil.rmtree(plain)
    monkeypatch.setenv("MY_TOKEN", TOKEN)
    monkeypatch.setenv("MY_LOADER_TOKEN", LOADER_TOKEN)
    monkeypatch.setenv("MY_PASSWORD", PASSWORD)
    endpoint = URL.replace(PASSWORD, "${MY_PASSWORD}")
    config = secretive({"env": "MY_TOKEN"}, {"env": "MY_LOADER_TOKEN"}, endpoints=[endpoint])
    WithToken.given.clear()
    place = run(config).directory
    assert WithToken.given[0] == (TOKEN, [URL])
    assert all(TOKEN.encode() not in content for content in _texts(place).values())
    found = [
        json.loads(path.read_text())["key"] for path in place.glob("learners/*/*/manifest.json")
    ]
    assert sorted(found) == sorted(keys)


def test_a_secret_that_is_not_set_stops_before_any_work(secretive: Callable[..., Config]) -> None:
    config = secretive({"env": "NO_SUCH_TOKEN"}, {"env": "NO_LOADER_TOKEN"})
    with pytest.raises(
        errors.ConfigError, match=r"no NO_SUCH_TOKEN(.|\n)*export NO_SUCH_TOKEN="
    ) as error:
        run(config)
    assert "NO_LOADER_TOKEN" in str(error.value)
    assert not (Path(config.run_dir) / "battles.json").exists()
    with writing(config) as reporter, pytest.raises(errors.ConfigError, match="no NO_LOADER_TOKEN"):
        prepare_stage(config, reporter)


def test_the_runs_own_config_says_how_it_is_run_again(
    secretive: Callable[..., Config], project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = run(secretive()).directory
    text = (place / "config.toml").read_text()
    names = ["ARENA_ACCOUNT_PASSWORD", "ARENA_TOKEN", "T_API_TOKEN", "T_ENDPOINTS_1"]
    assert text.partition("\n")[2].startswith("# Secrets are not stored.")
    assert ", ".join(names) in text.splitlines()[2]
    raw = tomllib.loads(text)
    assert raw["learners"][0]["api_token"] == {"env": "T_API_TOKEN"}
    assert raw["sources"][0]["options"]["token"] == {"env": "ARENA_TOKEN"}
    output = project.path / "out.csv"
    with pytest.raises(errors.ConfigError, match="the environment has no T_"):
        predict_file(load_run_config(place), project.path / "test.csv", output)
    assert audit_run(place).ok  # nothing is done with secrets there
    values = (PASSWORD, LOADER_TOKEN, TOKEN, PASSWORD)
    for name, value in zip(names, values, strict=True):
        monkeypatch.setenv(name, value)
    predict_file(load_run_config(place), project.path / "test.csv", output)
    assert output.read_text() == (place / "submission.csv").read_text()
    fitted = len(WithToken.given)
    run(load_config(place / "config.toml"))
    assert len(WithToken.given) == fitted
    assert (place / "config.toml").read_text() == text


def test_errors_and_events_mask_what_a_plugin_repeats(secretive: Callable[..., Config]) -> None:
    config = secretive(loader_token=WRONG)
    with writing(config) as reporter:
        with pytest.raises(
            errors.PluginError, match="401 for \\*\\*\\* at postgres://user:\\*\\*\\*@host"
        ):
            prepare_stage(config, reporter)
        reporter.event("custom", note=f"used {TOKEN}", more=[{"x": f"{LOADER_TOKEN}!"}])
    events = (Path(config.run_dir) / "events.jsonl").read_text()
    for secret in (WRONG, TOKEN, LOADER_TOKEN, PASSWORD):
        assert secret not in events


def test_a_parameter_with_a_name_like_a_secrets_makes_folds_anew(
    project: Project, use_plugins: UsePlugins
) -> None:
    class Pooled(Prior):
        def __init__(self, pool_token: str = "last", max_pass: int = 1) -> None:  # noqa: S107
            self.pool_token, self.max_pass = pool_token, max_pass
            self.shift = float(pool_token == "mean") + max_pass  # noqa: S105

    class Brings:
        @hookimpl
        def register_base_learners(self, register: Register) -> None:
            register("pooled", Pooled)

    use_plugins(mine=Brings())
    stored = []
    for token in ("last", "mean"):
        place = run(
            project.config([{"name": "x", "plugin": "pooled", "pool_token": token}])
        ).directory
        stored.append(pl.read_parquet(place / "learners/x/fold-0/oof.parquet")["logit_a"][0])
    assert stored[1] == pytest.approx(stored[0] + 1)
    assert 'pool_token = "mean"' in (place / "config.toml").read_text()
    assert audit_run(place).ok


def test_a_wrong_config_does_not_show_its_secrets(
    secretive: Callable[..., Config], project: Project
) -> None:
    path = project.path / "config.toml"
    secretive()
    text = path.read_text().replace(
        f'token = "{LOADER_TOKEN}"', f'token = "{LOADER_TOKEN}"\nx = nan'
    )
    path.write_text(text.replace("seed = 7", f'seed = "{TOKEN}"'))
    with pytest.raises(
        errors.ConfigError, match=r"seed: input should be a valid integer, got '\*\*\*'"
    ):
        load_config(path)
    with pytest.raises(errors.ConfigError, match="parameter") as error:
        run(secretive(api_token=["list", TOKEN]))
    assert TOKEN not in str(error.value)
