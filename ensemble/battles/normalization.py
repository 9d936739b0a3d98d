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
from urllib.parse import unquote_plus

import polars as pl

from ensemble.battles.letter_forms import bare_letters, of_one_script
from ensemble.battles.masked import blanks_as_one, each, replaced, where
from ensemble.battles.wrapping import unwrapped, without_bullets

# Format characters, variation selectors, and the letters that are blank (Hangul fillers, Braille).
_UNSEEN = r"[\p{Cf}\p{Default_Ignorable_Code_Point}\x{2800}]+"
_PERCENT = re.compile(r"\S*%[0-9a-fA-F]{2}\S*$")
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
_BREAKS = r"(?i)</?[bh]r(?:\s[^<>]{0,200})?/?>"
# One that no other closes may be what somebody asks about.
_TAGS = (
    r"(?i)</?(?:p|div|span|b|i|u|em|strong|code|pre|ul|ol|li|h[1-6]|blockquote)"
    r"(?:\s[^<>]{0,200})?/?>"
)
_QUOTES = {r"[‘’‚‛′`´ʼʻʽʹ‹›]": "'", r"[“”„‟″«»]": '"', r"[‐‑‒–—―−]": "-"}
_PLANES = 0x20000
"""Characters of the two planes that nearly all text is of; those beyond are looked at."""
_MOST_ENCODED = 3
"""How often one text may have been encoded."""


def normalized(text: pl.Expr) -> pl.Expr:
    r"""Bring texts to the form in which two of them count as the same.

    HTML entities, ``\uXXXX``, ``\xXX`` and backslashes before punctuation are resolved, formatting
    tags and written-out line breaks become line breaks, and what nobody sees goes (format
    characters, variation selectors, blank letters). ``%20`` of a text that was written for an
    address is resolved, and UTF-8 that was read as Latin-1 is read again. Then Unicode NFKC
    (full-width letters and ligatures become one form), lower case, plain quotes and dashes, letters
    without accents and of one script (``letter_forms``). What stands around a text goes
    (``wrapping``): special tokens of chat templates, roles at the beginning of a line, tags around
    the whole, numbers of lines; every run of white space and control characters is one space, none
    at the ends. A text that says a thing twice says it once. Punctuation that ends a sentence goes
    from the end, the mark of a list, a heading or a quotation from the beginning, and so do marks
    around the whole (quotes, brackets, emphasis, code). Other punctuation stays: ``"C"`` and
    ``"C++"`` are different prompts.

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
    Without joiners an emoji that is put together from others equals those in a row.
    """
    # As one function of a series: as an expression, a text that falls back on an earlier form would
    # have it computed again.
    return text.map_batches(_normalize, return_dtype=pl.String)


def _normalize(texts: pl.Series) -> pl.Series:
    spaced = where(texts, texts.str.contains(f"^{_PERCENT.pattern}"), each(_without_percent))
    plain = where(spaced, spaced.str.contains(r"[&\\]"), _unescaped)
    tagless = replaced(replaced(plain, _BREAKS, "\n", only="<"), _TAGS, "\n", only="</")
    # Plain ASCII, as most texts are, has nothing of what this looks for.
    wide = tagless.str.len_bytes() != tagless.str.len_chars()
    folded = where(tagless, wide, _composed).str.to_lowercase()
    folded = where(folded, wide, bare_letters)
    ended = unwrapped(folded)
    said_nothing = (ended == "") & (folded != "")
    return where(ended, said_nothing, lambda _: blanks_as_one(folded.filter(said_nothing)))


def _composed(texts: pl.Series) -> pl.Series:
    """Leave out what nobody sees, compose what is one letter, and plain quotes and dashes."""
    right = where(texts, texts.str.contains(_MISREAD), each(_as_utf8))
    # First of all: between a letter and its accent a format character keeps the two apart.
    seen = without_bullets(right.str.replace_all(_UNSEEN, ""))
    composed = where(seen, seen.str.contains(_unstable()), lambda t: t.str.normalize("NFKC"))
    for typed, simple in _QUOTES.items():
        composed = composed.str.replace_all(typed, simple)
    return of_one_script(composed)


def _as_utf8(text: str) -> str:
    """Read UTF-8 as such, where all of a text was read as Latin-1 or as Windows does."""
    for _ in range(_MOST_ENCODED):
        try:
            text = text.translate(_WINDOWS).encode("latin-1").decode()
        except UnicodeError:
            break
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


def _without_percent(text: str) -> str:
    """Decode what was written for an address, with ``%20`` or a plus for a space."""
    for _ in range(_MOST_ENCODED):
        if not _PERCENT.match(text):
            break
        text = unquote_plus(text, errors="replace")
    return text


def _unescaped(texts: pl.Series) -> pl.Series:
    """Resolve HTML entities, also escaped twice, and the escapes of JSON and Markdown."""
    plain = where(texts, texts.str.contains(_ESCAPES), each(_without_code))
    return plain.str.replace_all(r"\\[nrt]", "\n").str.replace_all(r"\\(\p{P})", "$1")


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
