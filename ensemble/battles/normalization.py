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
from urllib.parse import unquote_plus

import polars as pl

if TYPE_CHECKING:
    from collections.abc import Callable

# Runs of two and more, then single characters that are not yet a plain space: matching every lone
# space only to write it back would take several times as long.
_BLANKS = r"[\s\p{Cc}]{2,}|[^\S ]|\p{Cc}"
# Format characters, variation selectors, and the letters that are blank (Hangul fillers, Braille).
_UNSEEN = r"[\p{Cf}\p{Default_Ignorable_Code_Point}\x{2800}]+"
_PERCENT = r"^\S*%[0-9a-fA-F]{2}\S*$"
_ESCAPES = (
    r"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,30});?"
    r"|\\(?:x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8})"
)
_UNICODE_ESCAPES = re.compile(r"(?:\\u[0-9a-fA-F]{4})+")
_LONG_ESCAPE = re.compile(r"\\U(00(?:0[0-9a-fA-F]|10)[0-9a-fA-F]{4})")
_BYTE_ESCAPES = re.compile(r"(?:\\x[0-9a-fA-F]{2})+")
_MISREAD = r"[\x{C2}-\x{F4}][\x{80}-\x{BF}\x{152}-\x{2122}]"
"""UTF-8 that was read as Latin-1 or as Windows does: a byte that begins a letter, and one more."""
_WINDOWS = {
    ord(letter): byte
    for byte in range(0x80, 0xA0)
    if (letter := bytes([byte]).decode("cp1252", "replace")) != "\ufffd"
}
"""Bytes of the letters that Windows has where Latin-1 has control characters."""
_TAGS = (
    r"(?i)</?(?:br|p|div|span|hr|b|i|u|em|strong|code|pre|ul|ol|li|h[1-6]|blockquote)"
    r"(?:\s[^<>]{0,200})?/?>"
)
_QUOTES = {r"[‘’‚‛′`´]": "'", r"[“”„‟″«»]": '"', r"[‐‑‒–—―−]": "-"}
_TOKENS = (
    r"<\|[^<>|\n]{1,40}\|>|</?s>|<(?:bos|eos|pad|unk)(?:_token)?>|\[/?(?:inst|system_prompt)\]"
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
_FINAL = " .,;:!?…。、؟،؛۔।॥။។։።፧‼⁇⁈⁉"
"""What ends a sentence, in one script or another."""
_BEGINS = "^[¿¡>*+•#-]"
_FIRST = r"^(?:[¿¡ ]|(?:[>*+•-]|#{1,6}) )+"
_OPENS, _CLOSES = "\"'`*_~([{「『《【", "\"'`*_~)]}」』》】"
"""Marks that a whole text may stand in, and the partner of each."""
_OPENED = f"^[{re.escape(_OPENS)}]"
_AROUND = "|".join(
    f"^{re.escape(first)}+(.+?){re.escape(last)}+$"
    for first, last in zip(_OPENS, _CLOSES, strict=True)
)
_WITHIN = "".join(f"${{{number}}}" for number in range(1, len(_OPENS) + 1))
_DEEPEST = 4
"""Pairs of marks that a text may stand in, such as those of code, or of bold text in quotes."""


def normalized(text: pl.Expr) -> pl.Expr:
    r"""Bring texts to the form in which two of them count as the same.

    HTML entities, ``\uXXXX``, ``\xXX`` and backslashes before punctuation are resolved, formatting
    tags and written-out line breaks become line breaks, and what nobody sees goes (format
    characters, variation selectors, blank letters). Numbers of lines go, ``%20`` of a text that was
    written for an address is resolved, and UTF-8 that was read as Latin-1 is read again. Then
    Unicode NFKC (full-width letters, ligatures and
    composed accents become one form), lower case, plain quotes and dashes; special tokens of chat
    templates and role markers at the beginning of a line go; every run of white space and control
    characters is one space, none at the ends. Punctuation that ends a sentence goes from the end,
    the mark of a list, a heading or a quotation from the beginning, and so do marks around the
    whole (quotes, brackets, emphasis, code). Other punctuation stays: ``"C"`` and ``"C++"`` are
    different prompts.

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
    ended = _without_ends(bare)
    said_nothing = (ended == "") & (folded != "")
    return _where(ended, said_nothing, lambda _: _blanks_as_one(folded.filter(said_nothing)))


def _without_ends(texts: pl.Series, deepest: int = _DEEPEST) -> pl.Series:
    """Leave out punctuation at the ends, and marks around the whole of a text, such as quotes."""
    begins = texts.str.contains(_BEGINS)
    plain = _where(texts, begins, lambda t: t.str.replace(_FIRST, "")).str.strip_chars_end(_FINAL)
    if not deepest:
        return plain
    return _where(
        plain,
        plain.str.contains(_OPENED),
        lambda t: _without_ends(t.str.replace(_AROUND, _WITHIN).str.strip_chars(" "), deepest - 1),
    )


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
    right = _where(texts, texts.str.contains(_MISREAD), _read_right)
    # First of all: between a letter and its accent a format character keeps the two apart.
    seen = right.str.replace_all(_UNSEEN, "")
    composed = _where(seen, seen.str.contains(_unstable()), lambda t: t.str.normalize("NFKC"))
    for typed, simple in _QUOTES.items():
        composed = composed.str.replace_all(typed, simple)
    return composed


def _read_right(texts: pl.Series) -> pl.Series:
    """Read UTF-8 as such, where all of a text was read as Latin-1 or as Windows does."""
    return pl.Series([_as_utf8(text) for text in texts], dtype=pl.String)


def _as_utf8(text: str) -> str:
    try:
        return text.translate(_WINDOWS).encode("latin-1").decode()
    except UnicodeError:
        return text


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
    """Decode texts that were written for an address, with ``%20`` or a plus for a space."""
    return pl.Series([unquote_plus(t, errors="replace") for t in texts], dtype=pl.String)


def _unescaped(texts: pl.Series) -> pl.Series:
    """Resolve HTML entities, also escaped twice, and the escapes of JSON and Markdown."""
    plain = _where(texts, texts.str.contains(_ESCAPES), _without_codes)
    return plain.str.replace_all(r"\\[nrt]", "\n").str.replace_all(r"\\(\p{P})", "$1")


def _without_codes(texts: pl.Series) -> pl.Series:
    return pl.Series([_without_code(text) for text in texts], dtype=pl.String)


def _without_code(text: str) -> str:
    plain = html.unescape(html.unescape(text))
    found = _UNICODE_ESCAPES.sub(lambda match: str(json.loads(f'"{match.group()}"')), plain)
    found = _LONG_ESCAPE.sub(lambda match: chr(int(match[1], 16)), found)
    found = _BYTE_ESCAPES.sub(lambda match: _of_bytes(match.group()), found)
    return found.encode("utf-8", "replace").decode()


def _of_bytes(escapes: str) -> str:
    """Read bytes as UTF-8, or each as a letter, as Python writes those up to 255."""
    found = bytes.fromhex(escapes.replace("\\x", ""))
    try:
        return found.decode()
    except UnicodeError:
        return found.decode("latin-1")


def _blanks_as_one(texts: pl.Series) -> pl.Series:
    return texts.str.replace_all(_BLANKS, " ").str.strip_chars(" ")
