"""The template that a model is read with: found once for each tokenizer's content.

What is found is kept in the user's cache: to load a tokenizer, transformers imports its models, and
every command asks for the template, which is a part of what a fit is named by.
"""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import asdict
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ensemble.errors import ArtifactError, EnsembleError
from ensemble.storage.hashing import fingerprint, hash_file
from ensemble.storage.json_files import read_checksummed, write_checksummed
from ensemble.storage.user_cache import user_cache
from ensemble_plugins.language_model import text
from ensemble_plugins.language_model.model.base_weights import (
    CONFIG,
    find_base,
    tokenizer_fingerprint,
)
from ensemble_plugins.language_model.text.prompts import TEMPLATES, Template
from ensemble_plugins.language_model.text.templates import resolve_template, stored_template

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ensemble_plugins.language_model.settings import ModelSettings

_PACKAGES = (
    *("transformers", "tokenizers", "jinja2"),
    *("sentencepiece", "tiktoken", "mistral_common"),
)
"""Packages whose versions may read a tokenizer or its chat template in another way."""


def find_template(settings: ModelSettings, choice: str | Mapping[str, Any]) -> Template:
    """Give the template in force; named ones need no tokenizer.

    Parameters
    ----------
    settings
        Which model.
    choice
        As in ``templates.resolve_template``.

    Raises
    ------
    LearnerError
        The tokenizer cannot be had, or its chat template cannot be put around a battle.
    """
    if isinstance(choice, str) and choice in TEMPLATES:
        return TEMPLATES[choice]
    return _resolved(settings, json.dumps(choice, sort_keys=True), _content(settings))


def _content(settings: ModelSettings) -> str:
    """Name all that transformers takes a tokenizer from: config and place say of which class."""
    directory = find_base(settings).directory
    config = directory / CONFIG
    files = [tokenizer_fingerprint(directory), hash_file(config) if config.exists() else None]
    return fingerprint([str(directory.absolute()), *files])


@lru_cache(maxsize=32)
def _resolved(settings: ModelSettings, choice: str, content: str) -> Template:
    path = _kept_at(choice, content)
    if path is not None:
        with suppress(ArtifactError, LookupError, TypeError):  # not there, or damaged
            return stored_template(read_checksummed(path, hint="")["template"])
    from ensemble_plugins.language_model.model.weights import load_tokenizer

    template = resolve_template(json.loads(choice), load_tokenizer(settings))
    if path is not None:
        with suppress(EnsembleError):  # a cache that cannot be written costs time alone
            write_checksummed(path, {"template": asdict(template)})
    return template


def _kept_at(choice: str, content: str) -> Path | None:
    """Name the file of a template; None where there is no home, or the code has no text.

    The name has all code that takes a part in what a template comes out as.
    """
    code = sorted(Path(text.__path__[0]).glob("*.py"))
    read_by = [*map(_version, _PACKAGES), *map(hash_file, code)]
    with suppress(EnsembleError):  # this user has no cache
        path = user_cache("templates", f"{fingerprint([choice, content, read_by])}.json")
        return path if code else None
    return None


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:  # loading the tokenizer says what to install
        return None
