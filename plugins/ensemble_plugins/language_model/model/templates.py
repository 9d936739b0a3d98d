"""The template that a model is read with: found once for each tokenizer's content."""

from __future__ import annotations

import json
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from ensemble_plugins.language_model.model.base_weights import find_base, tokenizer_fingerprint
from ensemble_plugins.language_model.model.weights import load_tokenizer
from ensemble_plugins.language_model.text.prompts import TEMPLATES, Template
from ensemble_plugins.language_model.text.templates import resolve_template

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ensemble_plugins.language_model.settings import ModelSettings


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
def _resolved(settings: ModelSettings, choice: str, content: str) -> Template:  # noqa: ARG001
    return resolve_template(json.loads(choice), load_tokenizer(settings))
