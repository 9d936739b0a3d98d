"""The form in which texts are compared: what is only typed differently is the same text."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import polars as pl

# Runs of two and more, then single characters that are not yet a plain space: matching every lone
# space only to write it back would take several times as long.
_BLANKS = r"[\s\p{Cc}]{2,}|[^\S ]|\p{Cc}"
_UNSEEN = r"\p{Cf}+"


def normalized(text: pl.Expr) -> pl.Expr:
    r"""Bring texts to the form in which two of them count as the same.

    Format characters (zero-width spaces and joiners, soft hyphens, byte order and direction marks)
    go, for nobody sees them. Then Unicode NFKC (full-width letters, ligatures and composed accents
    become one form), lower case, and every run of white space and control characters as one space,
    none at the ends. Punctuation stays: ``"C"`` and ``"C++"`` are different prompts.

    Parameters
    ----------
    text
        String expression; null stays null.

    Returns
    -------
    pl.Expr
        String expression. No control character is left, so ``"\0"`` can separate two texts.

    Notes
    -----
    Lower case is that of Unicode's simple and special mappings, not full case folding, which Polars
    does not have: ``ß`` and ``ss`` differ. Near duplicates bridge that in any longer text.
    Without joiners an emoji that is put together from others equals those in a row.
    """
    # First of all: between a letter and its accent a format character keeps the two apart.
    seen = text.str.replace_all(_UNSEEN, "")
    folded = seen.str.normalize("NFKC").str.to_lowercase()
    return folded.str.replace_all(_BLANKS, " ").str.strip_chars(" ")


def joined(turns: pl.Expr) -> pl.Expr:
    """Join the turns of one side into one text; null turns and null lists add nothing."""
    return turns.list.join("\n", ignore_nulls=True).fill_null("")
