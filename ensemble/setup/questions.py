"""What files do not tell: a question, its answers, and what is taken where nobody is asked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Question:
    """One question.

    Parameters
    ----------
    text
        What is asked, in one sentence that names the file.
    options
        The answers that there are.
    default
        The likeliest; None where none is likelier than another.
    is_safe
        Whether the default may be taken unasked: it cannot make labels wrong.
    """

    text: str
    options: tuple[str, ...]
    default: str | None = None
    is_safe: bool = True


Ask = Callable[[Question], str | None]
"""Gives one of the options; None leaves the question open."""


def assume(question: Question) -> str | None:
    """Answer a question as it is answered where nobody is asked."""
    return question.default if question.is_safe else None
