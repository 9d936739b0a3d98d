r"""The form in which texts are compared: one that is only typed or wrapped differently is the same.

Sources write the same text in many ways: with ``<br>`` for a line break, HTML or JSON escapes,
typographic quotes, a role in front (``USER:``, ``### Instruction:``) or the special tokens of a
chat template. None of that is part of what somebody asked, so none of it is compared.
"""

from __future__ import annotations

import html
import json
import re
import unicodedata
from functools import cache
from typing import TYPE_CHECKING
from urllib.parse import unquote

import polars as pl

if TYPE_CHECKING:
    from collections.abc import Callable

# Runs of two and more, then single characters that are not yet a plain space: matching every lone
# space only to write it back would take several times as long.
_BLANKS = r"[\s\p{Cc}]{2,}|[^\S ]|\p{Cc}"
# Format characters, variation selectors, and the letters that are blank (Hangul fillers, Braille).
_UNSEEN = (
    r"[\p{Cf}\x{FE00}-\x{FE0F}\x{E0100}-\x{E01EF}\x{180B}-\x{180F}"
    r"\x{115F}\x{1160}\x{3164}\x{FFA0}\x{2800}]+"
)
_PERCENT = r"%20[^ ]*%20"
_ESCAPES = r"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,30});?|\\u[0-9a-fA-F]{4}"
_UNICODE_ESCAPES = re.compile(r"(?:\\u[0-9a-fA-F]{4})+")
_TAGS = (
    r"(?i)</?(?:br|p|div|span|hr|b|i|u|em|strong|code|pre|ul|ol|li|h[1-6]|blockquote)"
    r"(?:\s[^<>]{0,200})?/?>"
)
_QUOTES = {r"[‘’‚‛′`´]": "'", r"[“”„‟″«»]": '"', r"[‐‑‒–—―−]": "-"}
_TOKENS = (
    r"<\|[^<>|\n]{1,40}\|>|</?s>|<(?:bos|eos|pad|unk)>|\[/?(?:inst|system_prompt)\]"
    r"|<</?sys>>|<(?:start|end)_of_turn>"
)
_ROLE = r"user|assistant|human|system|model|chatbot|chatgpt|gpt|instructions?|input|output|response"
_SPEAKER = r"ai|bot|question|answer|prompt|query|q|a"
# A role ends with a colon, and one may stand behind the other; or it has a line to itself.
_MARKER = rf"\b(?:{_ROLE}|{_SPEAKER})(?: ?\d{{1,3}})?[*_\])]* *:"
_MARKERS = rf"(?m)^(?:[ \t#>*_\[(-]*{_MARKER}[ \t*_]*)+"
_ROLE_AT_END = rf"(?:{_ROLE})[ \t*_\])]*$"
_ROLE_LINES = rf"(?m)^[ \t#>*_\[(-]*{_ROLE_AT_END}"
_PLANES = 0x20000
"""Characters of the two planes that nearly all text is of; those beyond are looked at."""
# Lines that somebody numbered, or that are the items of a list.
_NUMBERED = r"(?m)^[ \t]*\d{1,4}[.):|\t][ \t]+"
_FINAL = r"[\s.,;:!?…。、！？]+$"


def normalized(text: pl.Expr) -> pl.Expr:
    r"""Bring texts to the form in which two of them count as the same.

    HTML entities, ``\uXXXX`` and backslashes before punctuation are resolved, formatting tags and
    written-out line breaks become line breaks, and what nobody sees goes (format characters,
    variation selectors, blank letters). Numbers of lines go, and ``%20`` of a text that was written
    for an address is resolved. Then Unicode NFKC (full-width letters, ligatures and
    composed accents become one form), lower case, plain quotes and dashes; special tokens of chat
    templates and role markers at the beginning of a line go; every run of white space and control
    characters is one space, none at the ends; final punctuation goes. Other punctuation stays:
    ``"C"`` and ``"C++"`` are different prompts.

    Parameters
    ----------
    text
        String expression; null stays null.

    Returns
    -------
    pl.Expr
        String expression. No control character is left, so ``"\0"`` can separate two texts. It is
        empty only where nothing was seen: a text of final punctuation or of a role alone stays.

    Notes
    -----
    Lower case is that of Unicode's simple and special mappings, not full case folding, which Polars
    does not have: ``ß`` and ``ss`` differ. Near duplicates bridge that in any longer text.
    Without joiners an emoji that is put together from others equals those in a row.
    """
    # As one function of a series: as an expression, a text that falls back on an earlier form would
    # have it computed again.
    return text.map_batches(_normalize, return_dtype=pl.String)


def _normalize(texts: pl.Series) -> pl.Series:
    spaced = _where(texts, texts.str.contains(_PERCENT), _without_percent)
    plain = _where(spaced, spaced.str.contains(r"[&\\]"), _unescaped)
    tagless = _where(plain, plain.str.contains("<"), lambda t: t.str.replace_all(_TAGS, "\n"))
    # Plain ASCII, as most texts are, has nothing of what this looks for.
    wide = tagless.str.len_bytes() != tagless.str.len_chars()
    folded = _where(tagless, wide, _composed).str.to_lowercase()
    unmarked = _where(
        folded, folded.str.contains(r"[<\[]"), lambda t: t.str.replace_all(_TOKENS, "\n")
    )
    # What begins with a line is slow to find: only texts that have it anywhere are looked at.
    for anywhere, markers in ((_MARKER, _MARKERS), (f"(?m){_ROLE_AT_END}", _ROLE_LINES)):
        unmarked = _without(unmarked, unmarked.str.contains(anywhere), markers)
    bare = _blanks_as_one(unmarked.str.replace_all(_NUMBERED, " "))
    ended = bare.str.replace(_FINAL, "")
    said_nothing = (ended == "") & (folded != "")
    return _where(ended, said_nothing, lambda _: _blanks_as_one(folded.filter(said_nothing)))


def _without(texts: pl.Series, rows: pl.Series, pattern: str) -> pl.Series:
    return _where(texts, rows, lambda t: t.str.replace_all(pattern, " "))


def contains(texts: pl.Series, pattern: str, *, only: str) -> pl.Series:
    """Say which texts contain a pattern; null does not.

    Parameters
    ----------
    texts
        ``n`` texts.
    pattern
        What to look for, such as something at the beginning of a line: slow to find.
    only
        What every text that contains ``pattern`` contains, and can be found faster.
    """
    found = texts.str.contains(only).fill_null(value=False)
    return _where(found, found, lambda _: texts.filter(found).str.contains(pattern))


def _where(
    texts: pl.Series, rows: pl.Series, change: Callable[[pl.Series], pl.Series]
) -> pl.Series:
    """Change the texts of a mask; null is none of them."""
    places = rows.fill_null(value=False).arg_true()
    if not len(places):
        return texts
    # ``scatter`` changes the series that it is called on.
    return texts.clone().scatter(places, change(texts.gather(places)))


def _composed(texts: pl.Series) -> pl.Series:
    """Leave out what nobody sees, compose what is one letter, and plain quotes and dashes."""
    # First of all: between a letter and its accent a format character keeps the two apart.
    seen = texts.str.replace_all(_UNSEEN, "")
    composed = _where(seen, seen.str.contains(_unstable()), lambda t: t.str.normalize("NFKC"))
    for typed, simple in _QUOTES.items():
        composed = composed.str.replace_all(typed, simple)
    return composed


@cache
def _unstable() -> str:
    """Give a class of all characters but those which NFKC leaves as they are, whatever is around.

    Composing is slow, and nearly no text needs it. A character that a later version of Unicode
    adds is not among the stable ones here, and so is looked at.
    """
    stable = [_is_stable(code) for code in range(_PLANES)]
    edges = [code for code in range(_PLANES) if stable[code] != (code > 0 and stable[code - 1])]
    ranges = zip(edges[::2], [*edges[1::2], _PLANES], strict=False)
    return "[^" + "".join(rf"\x{{{first:X}}}-\x{{{end - 1:X}}}" for first, end in ranges) + "]"


def _is_stable(code: int) -> bool:
    """Say whether a character stays as it is and composes with none before it."""
    category = unicodedata.category(chr(code))
    # Marks compose, and so do the parts of Hangul syllables.
    if category[0] == "M" or category in ("Cn", "Cs") or 0x1100 <= code <= 0x11FF:
        return False
    return unicodedata.is_normalized("NFKC", chr(code))


def _without_percent(texts: pl.Series) -> pl.Series:
    """Decode texts that were written for an address; one that has spaces of its own was not."""
    return pl.Series([t if " " in t else unquote(t, errors="replace") for t in texts])


def _unescaped(texts: pl.Series) -> pl.Series:
    """Resolve HTML entities, also escaped twice, and the escapes of JSON and Markdown."""
    plain = _where(texts, texts.str.contains(_ESCAPES), _without_codes)
    return plain.str.replace_all(r"\\[nrt]", "\n").str.replace_all(r"\\(\p{P})", "$1")


def _without_codes(texts: pl.Series) -> pl.Series:
    return pl.Series([_without_code(text) for text in texts], dtype=pl.String)


def _without_code(text: str) -> str:
    plain = html.unescape(html.unescape(text))
    found = _UNICODE_ESCAPES.sub(lambda match: str(json.loads(f'"{match.group()}"')), plain)
    return found.encode("utf-8", "replace").decode()


def _blanks_as_one(texts: pl.Series) -> pl.Series:
    return texts.str.replace_all(_BLANKS, " ").str.strip_chars(" ")
