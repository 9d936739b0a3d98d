"""What the battles of a file are like: labels, turns, lengths, languages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ensemble.battles.schema import TEXT_COLUMNS
from ensemble.battles.tokens import estimated_tokens
from ensemble.sources.describe import describe, label_shares

if TYPE_CHECKING:
    from ensemble.battles.loading import Loaded

_LOOKED_AT = 2_000
"""Rows whose languages and lengths are looked at."""
_NAMED = 0.005
"""Share of the battles from which on a language is named."""


@dataclass(frozen=True)
class Facts:
    """What is known of the battles of a file.

    Parameters
    ----------
    rows
        How many there are.
    shares
        Of the classes among labeled rows; None without labels.
    ties
        Labeled rows that are not decided, soft ones included.
    turns, several
        Mean number of turns, and the share of battles with more than one.
    characters
        Medians of prompt, response A and response B.
    tokens
        Estimated tokens of a battle, for some battles, in rising order.
    languages
        Shares by language, the most frequent first.
    prompts
        Different prompts, of all rows.
    """

    rows: int
    shares: tuple[float, float, float] | None
    ties: int
    turns: float
    several: float
    characters: tuple[float, float, float]
    tokens: tuple[int, ...]
    languages: dict[str, float]
    prompts: int

    def told(self, labels: str | None = None) -> str:
        """Describe it on one line, with other words for the labels where there are some."""
        turns = f"{self.turns:.1f} turns" if self.several else "1 turn"
        middle, high = self.token_quantile(0.5), self.token_quantile(0.95)
        some = [(n, share) for n, share in self.languages.items() if share >= _NAMED][:3]
        named = ", ".join(f"{name} {share:.0%}" for name, share in some)
        tokens = f"about {middle:,} tokens (95% below {high:,})"
        return f"{self.rows:,} battles; {labels or self.told_labels()}; {turns}; {tokens}; {named}"

    def told_labels(self) -> str:
        """Describe the labels."""
        if self.shares is None:
            return "no labels"
        a, b, tie = self.shares
        return f"A {a:.0%}, B {b:.0%}, " + (f"tie {tie:.0%}" if self.ties else "no ties")

    def token_quantile(self, share: float) -> int:
        """Give a quantile of the estimated tokens."""
        if not self.tokens:
            return 0
        return self.tokens[min(int(share * len(self.tokens)), len(self.tokens) - 1)]


def facts_of(loaded: Loaded) -> Facts:
    """Look at the battles of a file."""
    battles = loaded.battles
    some = battles.gather_every(max(1, len(battles) // _LOOKED_AT))
    told = describe(some)
    characters = (told["characters"][name][1] for name in TEXT_COLUMNS)
    prompt, first, second = characters
    return Facts(
        rows=len(battles),
        shares=label_shares(battles),
        ties=int((battles["label_tie"] > 0).sum()),
        turns=told["turns"]["mean"],
        several=told["turns"]["several"],
        characters=(prompt, first, second),
        tokens=tuple(sorted(estimated_tokens(some).to_list())),
        languages=told["languages"],
        prompts=battles["prompt"].n_unique(),
    )
