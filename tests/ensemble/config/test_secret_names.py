"""What counts as a secret, and how texts and references are told apart from one."""

from __future__ import annotations

import json

import pytest

from ensemble import errors
from ensemble.config.secrets import References, resolved_secrets
from ensemble.redact import is_secret_name, mask_text, masked, redact, without_secrets
from tests.ensemble.config.secret_values import URL


@pytest.mark.parametrize(
    "name",
    [
        "token",
        "api_token",
        "apiToken",
        "HF_TOKEN",
        "x-api-key",
        "api_key",
        "apikey",
        "password",
        "passwd",
        "db_password",
        "secret",
        "aws_secret_access_key",
        "credential",
        "credentials",
        "authorization",
        "Authorization",
        "private_key",
        "access_key",
        "auth_token",
        "bearer",
        "cookie",
        "access_tokens",
        "openai_key",
        "dsn",
        "HUGGING_FACE_HUB_TOKEN",
        "access_token",
        "bearer_token",
        "session_token",
        "use_auth_token",
        "client_secret",
        "access_token_secret",
        "api_key_2",
        "smtp_pass",
        "auth",
        "connection_string",
    ],
)
def test_names_of_secrets(name: str) -> None:
    assert is_secret_name(name)
    assert without_secrets({"a": [{name: "x"}]}) == {"a": [{}]}
    assert masked({"a": [{name: "value"}]}) == {"a": [{name: "***"}]}


@pytest.mark.parametrize(
    "name",
    [
        "max_tokens",
        "tokens",
        "tokenizer",
        "token_budget",
        "pad_token",
        "eos_token",
        "mask_token",
        "key",
        "keys",
        "features",
        "special_tokens",
        "token_path",
        "password_column",
        "author",
        "secretary",
        "passes",
        "sort_key",
        "pool_token",
        "marker_token",
        "delimiter_token",
        "sep_token",
        "last_token",
        "user_token",
        "first_token_2",
        "max_pass",
        "otp",
        "shared_key",
        "session_key",
        "security",
        "cross_auth",
        "attention_bearer",
        "secret_name",
        "password_env",
    ],
)
def test_names_of_what_decides_results(name: str) -> None:
    assert not is_secret_name(name)
    assert without_secrets({name: "x"}) == {name: "x"}


def test_only_texts_are_secrets() -> None:
    values = {"token": 3, "use_auth": True, "secret": 0.5, "password": 12345, "keys": [1]}
    values |= {"credentials": {"port": 5432, "weights": [0.5, 1.0]}}
    assert without_secrets(values) == values
    assert masked(values) == values
    assert without_secrets({"credentials": {"user": "me", "port": 1}}) == {
        "credentials": {"port": 1}
    }


@pytest.mark.parametrize(
    "token", ["hf_" + "aB3" * 11, "ghp_" + "x9" * 18, "sk-proj-" + "a1B2" * 6, "AKIA" + "Z9" * 8]
)
def test_a_token_that_shows_what_it_is_is_one_under_any_name(token: str) -> None:
    assert masked({"x": [token]}) == {"x": ["***"]}
    assert without_secrets({"x": token, "y": 1}) == {"y": 1}
    assert References().put({"x": token}, "mine") == {"x": {"env": "MINE_X"}}
    assert masked({"x": "sk-learn-calibrated-classifier"}) != {"x": "***"}


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://u:p%40ss@host/x", "https://u:***@host/x"),
        ("see https://u:a@b@host and", "see https://u:***@host and"),
        ("https://ghp_0123456789abcdefgh@github.com/a", "https://***@github.com/a"),
        ("git://git@github.com/a", "git://git@github.com/a"),
        ("https://host/x?a=1&api_key=abc&b=2", "https://host/x?a=1&api_key=***&b=2"),
        ("Authorization: Bearer abc.def-1", "Authorization: Bearer ***"),
        ("http://host:80/a@b", "http://host:80/a@b"),
        ("no secret here: 1:2@3", "no secret here: 1:2@3"),
    ],
)
def test_secrets_in_texts(text: str, shown: str) -> None:
    assert mask_text(text) == shown
    assert mask_text(shown) == shown
    assert str(errors.DataError(text)) == redact(text) == shown


def test_references_are_read_back_as_the_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    values = {
        "token": "abcdef",
        "nested": {"Password": "one", "list": [{"secret": "two"}, "https://u:three@h"]},
        "credentials": {"user": "four", "keys": ["five"]},
        "plain": 1,
    }
    references = References()
    put = references.put(values, "my learner")
    assert put["token"] == {"env": "MY_LEARNER_TOKEN"}
    assert put["nested"]["list"][1] == "https://u:${MY_LEARNER_NESTED_LIST_2}@h"
    secrets = ("abcdef", "one", "two", "three", "four", "five")
    assert not any(f'"{secret}"' in json.dumps(put) for secret in secrets)
    for name, value in references._known.items():
        assert value is not None
        monkeypatch.setenv(name, value)
    assert resolved_secrets(put, "here") == values
    assert references.put(put, "my learner") == put


def test_two_secrets_have_two_names() -> None:
    references = References()
    assert references.put({"token": "one"}, "a")["token"] == {"env": "A_TOKEN"}
    assert references.put({"token": "two"}, "a")["token"] == {"env": "A_TOKEN_2"}
    assert references.put({"token": "one"}, "a")["token"] == {"env": "A_TOKEN"}
    assert references.names == ["A_TOKEN", "A_TOKEN_2"]


def test_a_reference_is_one_under_any_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CART", "pole")
    values = {"gym": {"env": "CART"}, "other": {"env": "CART", "size": "big"}}
    assert resolved_secrets(values, "here") == {**values, "gym": "pole"}
    assert References().put(values, "a") == values
    assert without_secrets(values) == {"other": values["other"]}
    with pytest.raises(errors.ConfigError, match="no ABSENT"):
        resolved_secrets({"gym": {"env": "ABSENT"}}, "here")


def test_an_error_of_ours_is_one_whatever_it_says() -> None:
    assert errors.EnsembleError("x", where=URL, hint=URL).where == "postgres://user:***@host/base"
