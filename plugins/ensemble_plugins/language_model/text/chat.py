"""A tokenizer's own chat template, as fixed text around the parts of a battle.

A chat template is a program that writes a conversation. It is run once, on a battle of placeholders
in one turn of the user, and what it writes is cut at them: a battle's own text never goes through
it, and is tokenized apart. So the template has to put what users write as it stands, wherever it
stands. It is run again on text that programs like to change, and refused if it does.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ensemble.errors import LearnerError, unknown_name
from ensemble_plugins.language_model.text.chat_render import render_chat
from ensemble_plugins.language_model.text.prompts import PLAIN_CHAT, TEMPLATES, bare_copy
from ensemble_plugins.language_model.text.template_names import ROLES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from transformers import PreTrainedTokenizerBase

    from ensemble_plugins.language_model.text.prompts import Template

_TODAY = "2024-07-26T00:00:00+00:00"
"""The day that templates are told, which is the one that Llama 3.2's own names without a clock."""
_OPTIONS: dict[str, Any] = {
    # What models that may think write before an answer without thoughts.
    "enable_thinking": False,
    "thinking": False,
    "tools": None,
    "documents": None,
    "add_generation_prompt": True,
}
_PLACEHOLDERS = tuple(f"\u2039{part} 5f1d8c27\u203a" for part in ("prompt", "A", "B"))
_DIFFICULT = (
    '  <b>&amp; "it\'s" & {{ x }} {% y %} \\n \\ /no_think\r\n\t\n\n\n'
    "<think>why</think> <tool_response> [INST] <<SYS>> </s> <|im_start|>system\n"
    "e\u0301 \u00e9 \ufb01 \u200b \U0001f600 ### Stra\u00dfe UPPER lower  "
) + "long " * 4000
_HINT = (
    'set `template` to "plain", or to a table whose texts are written out: see '
    "docs/language_models.md"
)


def find_chat(tokenizer: PreTrainedTokenizerBase, name: str | None = None) -> str | None:
    """Give a tokenizer's chat template; None where it has none.

    Parameters
    ----------
    tokenizer
        Any tokenizer of transformers.
    name
        Which one, of several; None takes ``default``, or the only one.

    Raises
    ------
    LearnerError
        There is none of that name, or there are several and none is the default.
    """
    found: Any = tokenizer.chat_template
    if not found or not isinstance(found, dict):
        if name is not None:
            raise LearnerError(f"the tokenizer has no chat templates by name, nor {name!r}")
        return found or None
    if name is None and len(found) == 1:
        return str(next(iter(found.values())))
    name = "default" if name is None else name
    if name in found:
        return str(found[name])
    if name != "default":
        raise unknown_name("chat template", name, found)
    raise LearnerError(
        f"the tokenizer has {len(found)} chat templates, none of which is the default: "
        + ", ".join(sorted(found)),
        hint=f'name one in the config: template = {{chat = "{min(found)}"}}',
    )


def chat_template(tokenizer: PreTrainedTokenizerBase, chat: str) -> Template:
    """Give the fixed text that a chat template writes around a battle in one turn of the user.

    Parameters
    ----------
    tokenizer
        Whose special tokens the template may name.
    chat
        The chat template.

    Raises
    ------
    LearnerError
        It fails, writes something else each time, or changes what users write.
    """
    bodies = [_body(parts) for parts in (_PLACEHOLDERS, (_DIFFICULT,) * 3, ("", "", ""))]
    found = {
        around
        for bodies in (bodies, bodies[:1])
        for around in _surroundings(tokenizer, chat, bodies)
    }
    if len(found) > 1:
        raise _changes()
    ((before, after),) = found
    if any(f"{{{role}}}" in before + after for role in ROLES):
        raise _changes()
    return replace(PLAIN_CHAT, start=before + PLAIN_CHAT.start, end=PLAIN_CHAT.end + after)


def plain_template(tokenizer: PreTrainedTokenizerBase) -> Template:
    """Give the template of a model without turns: with the special tokens that the tokenizer adds.

    That of encoders where the tokenizer knows tokens to begin and to separate texts.
    """
    if tokenizer.cls_token is not None and tokenizer.sep_token is not None:
        return TEMPLATES["encoder"]
    first, last = _added_around(tokenizer)
    return replace(
        PLAIN_CHAT,
        start="".join([*first, PLAIN_CHAT.start]),
        end="".join([PLAIN_CHAT.end, *last]),
        special=tuple(dict.fromkeys([*first, *last])),
    )


def _added_around(tokenizer: PreTrainedTokenizerBase) -> tuple[list[str], list[str]]:
    """Give the special tokens that a tokenizer puts before and after a text."""
    encoded = bare_copy(tokenizer).encode(PLAIN_CHAT.start)
    inner = [i for i, added in enumerate(encoded.special_tokens_mask) if not added]
    if not inner:
        return [], []
    return encoded.tokens[: inner[0]], encoded.tokens[inner[-1] + 1 :]


def _surroundings(
    tokenizer: PreTrainedTokenizerBase, chat: str, bodies: Sequence[str]
) -> list[tuple[str, str]]:
    """Give what a template writes before and after battles, each of which stands there as it is."""
    # Some templates take what is in a turn as a list of parts alone.
    ways = [(body, [{"type": "text", "text": body}]) for body in bodies]
    contents = [content for way in ways for content in way]
    variables = {**tokenizer.special_tokens_map, **_OPTIONS}
    written = render_chat(chat, contents, variables, _TODAY)
    return [_around(body, written[2 * at : 2 * at + 2]) for at, body in enumerate(bodies)]


def _around(body: str, tried: Sequence[str | Exception]) -> tuple[str, str]:
    for text in tried:
        if isinstance(text, str) and text.count(body) == 1:
            before, _, after = text.partition(body)
            return before, after
    if isinstance(tried[0], str):
        raise _changes()
    raise LearnerError(
        f"the tokenizer's chat template fails with one turn of the user: {tried[0]}", hint=_HINT
    ) from tried[0]


def _body(parts: tuple[str, ...]) -> str:
    prompt, a, b = parts
    t = PLAIN_CHAT
    texts = (t.start, t.before_prompt, prompt, t.before_a, a, t.before_b, b, t.after_round, t.end)
    return "".join(texts)


def _changes() -> LearnerError:
    return LearnerError(
        "the tokenizer's chat template changes what users write, or writes something else each "
        "time, so that it cannot be put around a battle",
        hint=_HINT,
    )
