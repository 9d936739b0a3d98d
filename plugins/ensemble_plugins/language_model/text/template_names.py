"""The names of templates and the keys of a table of one, as a config may give them."""

import re
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

from ensemble.errors import nearest

AUTO, PLAIN = "auto", "plain"
NAMES = (AUTO, PLAIN, "gemma2", "llama3", "encoder")
TEXTS = ("start", "before_prompt", "before_a", "before_b", "after_round", "end")
"""Texts around the parts of a battle."""
BASE, CHAT, SPECIAL = "base", "chat", "special"
"""What the texts that a table lacks are taken from, which chat template, and tokens that the
tokenizer must have."""
ROLES = ("cls", "sep", "bos", "eos")
"""Special tokens of a tokenizer that fixed text may name in braces."""
_IN_BRACES = re.compile(r"\{\s*(\w+)\s*\}")
_BATTLE = ("prompt", "response_a", "response_b", "answer_a", "answer_b")
"""What others call the texts of a battle in their templates."""
_NEAR = 0.8
_TOKENS = (*ROLES, "pad", "unk", "mask")


def check_template(template: str | Mapping[str, Any]) -> None:
    """Check a name, or the keys of a table and their types, without a tokenizer.

    Raises
    ------
    ValueError
        There is no template of that name; or the table has an unknown key, a value of another type,
        or what is meant to stand for a token or a text of the battle, and does not.
    """
    if isinstance(template, str):
        if template not in NAMES:
            raise ValueError(f'template "{template}" is unknown: {nearest(template, NAMES)}')
        return
    for key, value in template.items():
        _check_key(key, value)
    base = template.get(BASE, AUTO)
    check_template(base)
    if CHAT in template and base != AUTO:
        raise ValueError(f'template.{CHAT} names a chat template, which base = "{base}" has not')
    if CHAT in template and {*TEXTS} <= template.keys():
        raise ValueError(
            f"template.{CHAT} names a chat template, of which nothing is left: each text is given"
        )


def _check_key(key: str, value: Any) -> None:
    known = (*TEXTS, SPECIAL, BASE, CHAT)
    if key not in known:
        raise ValueError(f'template has no key "{key}": {nearest(key, known)}')
    if key == SPECIAL:
        right = isinstance(value, list | tuple) and all(isinstance(each, str) for each in value)
    else:
        right = isinstance(value, str)
    if not right:
        kind = "a list of texts" if key == SPECIAL else "text"
        raise ValueError(f"template.{key} must be {kind}, got {value!r}")
    for text in value if key == SPECIAL else [value]:
        _check_braces(key, text)


def _check_braces(key: str, text: str) -> None:
    """Refuse what looks like a place for something, and would be read as it is written."""
    for found in _IN_BRACES.finditer(text):
        name = found[1].casefold()
        is_role = get_close_matches(name.removesuffix("_token"), _TOKENS, n=1, cutoff=_NEAR)
        if found[0][1:-1] in ROLES or not (is_role or name in _BATTLE):
            continue  # other words in braces are text, as in formulas
        why = "stands for nothing: " + nearest(name, ROLES)
        if name in _BATTLE:
            why = "has no place: a battle's texts follow before_prompt, before_a and before_b"
        raise ValueError(f'template.{key} has "{found[0]}", which {why}')
