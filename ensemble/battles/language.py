"""Which language a battle is in, by script and by the commonest words of its prompt.

For counting only: no learner sees it. The core knows no feature set, so it has short lists of its
own; text that they do not decide is "undecided", never English.
"""

from __future__ import annotations

import polars as pl

UNDECIDED = "undecided"
"""Code, numbers, a few words that no list has, or a language that has no list."""

_SCRIPTS = {
    "Japanese": r"[\p{Hiragana}\p{Katakana}]",
    "Korean": r"\p{Hangul}",
    "Chinese": r"\p{Han}",
    "Cyrillic": r"\p{Cyrillic}",
    "Arabic": r"\p{Arabic}",
    "Hebrew": r"\p{Hebrew}",
    "Greek": r"\p{Greek}",
    "Devanagari": r"\p{Devanagari}",
    "Thai": r"\p{Thai}",
}
"""In this order: Japanese is written in Han characters too, among its own."""

_WORDS = {
    "English": "the of and to is in that it for with are this be you what how not from have a i",
    "Spanish": "el los las y en que del una por con para es como su pero al qu\u00e9 un",
    "French": "le les des et est une du dans pour qui pas sur avec sont au ce vous un la",
    "German": "der das und ist nicht ein eine zu den mit von auf f\u00fcr sich dem auch wie ich",
    "Portuguese": "os em que da uma para com n\u00e3o \u00e9 como mais ao dos na seu um o",
    "Italian": "il di che la e un per sono non con una del della nel gli anche pi\u00f9 si",
    "Dutch": "de het een van en is dat niet op te zijn voor met wat hoe ik",
    "Polish": "w nie z jest si\u0119 \u017ce jak dla czy przez oraz od ze jako jego",
    "Turkish": "ve bir bu i\u00e7in ile ne nas\u0131l da de mi olarak \u00e7ok",
}
_LEAST_SCRIPT = 0.2
"""Share of the characters from which a script names the language."""
_LEAST_WORDS = 0.1
"""Share of the words that have to be in a list."""
_CHARACTERS = 1_000
"""Of a text that are looked at."""


def languages(battles: pl.DataFrame) -> pl.Series:
    """Name the language of each battle: that of the prompt, where undecided that of response A.

    Parameters
    ----------
    battles
        With ``prompt`` and ``response_a``, lists of turns.

    Returns
    -------
    pl.Series
        String, ``(n,)``: a language, a script, or ``UNDECIDED``.
    """
    named = _language(battles["prompt"])
    # Most prompts decide: responses are longer, and cost more to look at.
    open_rows = (named == UNDECIDED).arg_true()
    return named.scatter(open_rows, _language(battles["response_a"].gather(open_rows)))


def _language(turns: pl.Series) -> pl.Series:
    text = pl.col("turns").list.join("\n", ignore_nulls=True).str.slice(0, _CHARACTERS)
    texts = turns.alias("turns").to_frame().lazy().select(text=text.str.to_lowercase())
    column = pl.col("text")
    named = pl.coalesce(_script(column), _by_words(column), pl.lit(UNDECIDED))
    return texts.select(language=named).collect().to_series()


def _script(text: pl.Expr) -> pl.Expr:
    """Name the first script that enough of the characters are in; null where none is."""
    size = text.str.len_chars()
    found = [
        pl.when(text.str.count_matches(pattern) > _LEAST_SCRIPT * size).then(pl.lit(name))
        for name, pattern in _SCRIPTS.items()
    ]
    return pl.coalesce(found)


def _by_words(text: pl.Expr) -> pl.Expr:
    """Name the language that most of the words are common in; null where hardly any is."""
    hits = {
        name: text.str.count_matches(rf"\b(?:{'|'.join(listed.split())})\b")
        for name, listed in _WORDS.items()
    }
    most = pl.max_horizontal(*hits.values())
    enough = (most > _LEAST_WORDS * text.str.count_matches(r"\w+")) & (most > 0)
    return pl.when(enough).then(
        pl.coalesce([pl.when(count == most).then(pl.lit(name)) for name, count in hits.items()])
    )
