"""Which template is in force: named, a tokenizer's own, or written out in the config."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ensemble.errors import LearnerError
from ensemble_plugins.language_model.text.chat import chat_template, find_chat, plain_template
from ensemble_plugins.language_model.text.prompts import TEMPLATES, Template, find_markers
from ensemble_plugins.language_model.text.template_names import (
    AUTO,
    BASE,
    CHAT,
    SPECIAL,
    TEXTS,
    check_template,
)

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

TemplateChoice = Template | str | Mapping[str, Any]
"""A template, the name of one, or a table of its texts."""
_JOINTS = re.compile(r"[|_\-\s\u2581\uff5c]")
"""What is easily left out of a marker, or put into it."""


def resolve_template(template: TemplateChoice, tokenizer: PreTrainedTokenizerBase) -> Template:
    """Give the template in force.

    Parameters
    ----------
    template
        A template; the name of one in ``TEMPLATES``; ``"plain"``, without turns; ``"auto"``, the
        tokenizer's own chat template, or plain where it has none; or a table of texts, by the
        names of ``Template``. Those that a table lacks are of its ``base``, a name; its ``chat``
        says which of several chat templates.
    tokenizer
        Of the model.

    Raises
    ------
    LearnerError
        The chat template cannot be put around a battle; says why. Or a table writes what is nearly
        a special token.
    ValueError
        As in ``check_template``.
    """
    if isinstance(template, Template):
        return template
    check_template(template)
    if isinstance(template, str):
        return _named(template, tokenizer, None)
    texts = {key: value for key, value in template.items() if key not in (BASE, CHAT)}
    for key in TEXTS:
        _check_markers(key, texts.get(key, ""), tokenizer)
    if SPECIAL in texts:
        texts[SPECIAL] = tuple(texts[SPECIAL])
    if {*TEXTS} <= texts.keys():
        return Template(**{SPECIAL: (), **texts})
    base = _named(template.get(BASE, AUTO), tokenizer, template.get(CHAT))
    return replace(base, **texts)


def _named(name: str, tokenizer: PreTrainedTokenizerBase, chat: str | None) -> Template:
    if name in TEMPLATES:
        return TEMPLATES[name]
    written = find_chat(tokenizer, chat) if name == AUTO else None
    return plain_template(tokenizer) if written is None else chat_template(tokenizer, written)


def _check_markers(key: str, text: str, tokenizer: PreTrainedTokenizerBase) -> None:
    """Refuse a slip in a marker: it would be read as text, and open or end no turn."""
    backend = tokenizer.backend_tokenizer
    added = [token.content for token in backend.get_added_tokens_decoder().values()]
    for marker in find_markers(text):
        meant = next((token for token in added if _is_slip(marker, token)), None)
        if meant and marker not in added and backend.token_to_id(marker) is None:
            raise LearnerError(
                f"template.{key} writes {marker}, which is no token of the tokenizer",
                hint=f'did you mean "{meant}"?',
            )


def _is_slip(marker: str, token: str) -> bool:
    """Say whether two differ in case or joints alone, or in two neighbors that are exchanged.

    Other letters, digits and a slash make another word, as ``<response_a>`` beside ``<response>``.
    """
    first, second = (_JOINTS.sub("", one).casefold() for one in (marker, token))
    apart = [at for at, (one, other) in enumerate(zip(first, second, strict=False)) if one != other]
    exchanged = (
        len(first) == len(second)
        and len(apart) == 2
        and apart[1] == apart[0] + 1
        and first[apart[0]] == second[apart[1]]
        and first[apart[1]] == second[apart[0]]
    )
    return first == second or exchanged


def stored_template(texts: Mapping[str, Any]) -> Template:
    """Give back a template from its texts, as ``dataclasses.asdict`` gives them."""
    return Template(**{**texts, SPECIAL: tuple(texts[SPECIAL])})
