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
from ensemble_plugins.language_model.model.base_weights import find_base, tokenizer_fingerprint
from ensemble_plugins.language_model.text.prompts import TEMPLATES, Template
from ensemble_plugins.language_model.text.templates import resolve_template, stored_template

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ensemble_plugins.language_model.settings import ModelSettings

_PACKAGES = ("transformers", "tokenizers", "jinja2")
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
    content = tokenizer_fingerprint(find_base(settings).directory)
    return _resolved(settings, json.dumps(choice, sort_keys=True), content)


@lru_cache(maxsize=32)
def _resolved(settings: ModelSettings, choice: str, content: str) -> Template:
    place = user_cache("templates", f"{fingerprint([choice, content, *_read_by()])}.json")
    with suppress(ArtifactError):  # it is not there, or damaged: then it is found again
        return stored_template(read_checksummed(place, hint="")["template"])
    from ensemble_plugins.language_model.model.weights import load_tokenizer

    found = resolve_template(json.loads(choice), load_tokenizer(settings))
    with suppress(EnsembleError):  # a cache that cannot be written costs time alone
        write_checksummed(place, {"template": asdict(found)})
    return found


def _read_by() -> list[str | None]:
    """Name all code that has a part in what a template comes out as."""
    own = sorted(Path(text.__path__[0]).glob("*.py"))
    return [*map(_version, _PACKAGES), *map(hash_file, own)]


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:  # loading the tokenizer says what to install
        return None
