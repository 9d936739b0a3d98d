"""Secrets of a config: read from the environment, and named there in what a run keeps.

A config may say ``{ env = "NAME" }`` in the place of any text, which is a secret then, and
``${NAME}`` in the place of the password in a web address. Where it holds the secret itself, the
run's copy says so in its place.
"""

from __future__ import annotations

import os
import re
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
                mend=f"set it before the command: export {name}=...",
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
