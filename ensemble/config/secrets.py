"""Secrets of a config: read from the environment, and named there in what a run keeps.

A config may say ``{ env = "NAME" }`` in the place of any text, which is a secret then, and
``${NAME}`` in the place of the password in a web address. Where it holds the secret itself, the
run's copy says so in its place.
"""

from __future__ import annotations

import hashlib
import os
import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from ensemble.errors import ConfigError
from ensemble.redact import (
    MASK,
    edit_secrets,
    is_reference,
    mask_text,
    remember_secret,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

_IN_TEXT = re.compile(r"\$\{(\w+)\}")
_ROUNDS = 200_000
_DIGITS = 5
"""Hex digits of a secret's digest: a million secrets have one, so that none is told by it, and a
changed one is missed once in a million times."""


def resolved_secrets(
    values: Mapping[str, Any], where: str, *, needed: bool = True
) -> dict[str, Any]:
    """Put secrets in the places where a config names them.

    Parameters
    ----------
    values
        Parameters or options as the config gives them.
    where
        The place in the config, for errors.
    needed
        Whether one that is not set is an error. Where nothing is done with them, a mask stands in.

    Raises
    ------
    ConfigError
        A name is not set in the environment, or a secret is masked in the config itself.
    """

    def look_up(name: str) -> str:
        found = os.environ.get(name, "")
        if not found and needed:
            raise ConfigError(
                f"the environment has no {name}, which stands for a secret",
                where=where,
                hint=f"set it before the command: export {name}=...",
            )
        remember_secret(found)
        return found or MASK

    return {name: _resolved(value, look_up) for name, value in values.items()}


def _resolved(value: Any, look_up: Callable[[str], str]) -> Any:
    if is_reference(value):
        return look_up(value["env"])
    if isinstance(value, dict):
        return {key: _resolved(item, look_up) for key, item in value.items()}
    if isinstance(value, list):
        return [_resolved(item, look_up) for item in value]
    if not isinstance(value, str):
        return value

    def put(secret: str) -> str:
        reference = _IN_TEXT.fullmatch(secret)
        return look_up(reference[1]) if reference else secret

    return mask_text(value, put)


def secret_digests(values: Mapping[str, Any]) -> dict[str, str | None]:
    """Name each secret of parameters or options, so that one sees that it is another.

    Parameters
    ----------
    values
        As the config gives them: secrets, or names in the environment.

    Returns
    -------
    dict[str, str | None]
        A few hex digits by place, such as ``account.password``; None where the environment has no
        such name, so that nobody knows.
    """
    found: dict[str, list[str]] = {}

    def note(secret: str, place: tuple[str, ...], whole: bool) -> str:
        reference = None if whole else _IN_TEXT.fullmatch(secret)
        known = os.environ.get(reference[1], "") if reference else secret
        found.setdefault(".".join(place), []).append("" if known == MASK else known)
        return secret

    edit_secrets(values, note)
    for place, name in _references_in(values, ()):
        found.setdefault(".".join(place), []).append(os.environ.get(name, ""))
    return {
        place: "-".join(_digest(one, place) for one in secrets) if all(secrets) else None
        for place, secrets in sorted(found.items())
    }


def with_secrets(code: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Give what names a code with what names the secrets that it is given, if there are any."""
    secrets = secret_digests(values)
    return {**code, "secrets": secrets} if secrets else {**code}


@lru_cache(maxsize=256)
def _digest(secret: str, place: str) -> str:
    # Slow on purpose: whoever has the digest shall not try all short secrets at once.
    salt = f"preference-ensemble {place}".encode()
    made = hashlib.pbkdf2_hmac("sha256", secret.encode("utf-8", "surrogateescape"), salt, _ROUNDS)
    return made.hex()[:_DIGITS]


def _references_in(value: Any, place: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], str]]:
    if is_reference(value):
        yield place, value["env"]
    elif isinstance(value, dict | list | tuple):
        items = value.items() if isinstance(value, dict) else enumerate(value, 1)
        for key, item in items:
            yield from _references_in(item, (*place, str(key)))


def _names_in(value: Any) -> Iterator[str]:
    """Find the names that a config gives for secrets."""
    if is_reference(value):
        yield value["env"]
    elif isinstance(value, dict | list | tuple):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _names_in(item)
    elif isinstance(value, str):
        found: list[str] = []

        def note(part: str) -> str:
            found.append(part)
            return part

        mask_text(value, note)
        yield from (name[1] for part in found if (name := _IN_TEXT.fullmatch(part)))


class References:
    """Names in the environment for the secrets of one config, each secret once.

    Parameters
    ----------
    config
        The tables of the config: names that it has already are for what they stand for.
    """

    def __init__(self, config: Any = None) -> None:
        self._known: dict[str, str | None] = dict.fromkeys(_names_in(config))

    @property
    def names(self) -> list[str]:
        """All names that the config has then, sorted."""
        return sorted(self._known)

    def put(self, values: Any, owner: str) -> Any:
        """Give tables with references in the places of their secrets.

        Parameters
        ----------
        values
            Parameters, options, or a single text.
        owner
            Whose they are: the first part of names.
        """

        def edit(secret: str, place: tuple[str, ...], whole: bool) -> Any:
            return self._edit(secret, (owner, *place), whole=whole)

        return edit_secrets(values, edit)

    def _edit(self, secret: str, place: tuple[str, ...], *, whole: bool) -> Any:
        if secret == MASK or _IN_TEXT.fullmatch(secret):
            return secret
        name = self._name(secret, place)
        return {"env": name} if whole else f"${{{name}}}"

    def _name(self, secret: str, parts: tuple[str, ...]) -> str:
        plain = re.sub(r"\W+|_+", "_", "_".join(parts), flags=re.ASCII).strip("_").upper()
        plain = plain if plain[:1].isalpha() else f"SECRET_{plain}"
        name, number = plain, 1
        while self._known.setdefault(name, secret) != secret:
            number += 1
            name = f"{plain}_{number}"
        return name
