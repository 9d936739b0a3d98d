"""Battles for an exported classifier: token ids as the model was trained on, and logits.

It needs transformers and torch, and nothing of the toolkit that the model was trained by::

    import sys
    sys.path.insert(0, "MODEL")          # the directory of the model
    from battle_input import BattleClassifier

    model = BattleClassifier("MODEL")
    model.probabilities([("prompt", "response A", "response B")])   # model_a, model_b, tie

A battle of several rounds has a list of turns in the place of each text.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import zip_longest
from pathlib import Path
from typing import Any

from ensemble_plugins.language_model.text.plain_text import define_plain
from ensemble_plugins.language_model.text.truncation import RULES

Turns = str | Sequence[str | None]
"""A text, or one for each round, the oldest first."""
Battle = tuple[Turns, Turns, Turns]
"""Prompts, responses A, responses B."""
Compute = Callable[[list[list[int]]], list[list[float]]]
"""From the token ids of rows to their logits of three classes."""


class BattleInput:
    """Builds token ids: the template's own, and the texts' without any special token.

    Parameters
    ----------
    directory
        Of the exported model.
    """

    def __init__(self, directory: str | Path) -> None:
        from tokenizers import Tokenizer

        place = Path(directory)
        self.facts: dict[str, Any] = json.loads(
            (place / "ensemble.json").read_text(encoding="utf-8")
        )
        definition = (place / "tokenizer.json").read_text(encoding="utf-8")
        # Nobody can write the names that special tokens have in here.
        plain = define_plain(definition, self.facts["special_tokens"], secrets.token_hex())
        self._plain = Tokenizer.from_str(plain)
        self._fixed: dict[str, list[int]] = self.facts["template_ids"]
        self._cut = RULES[self.facts["truncation"]]

    def ids(self, battle: Battle, *, swapped: bool = False) -> list[int]:
        """Give the token ids of a battle; ``swapped`` exchanges A and B."""
        prompts, a, b = (_turns(part) for part in battle)
        sides = (b, a) if swapped else (a, b)
        rounds = [[self._encode(text) for text in turns] for turns in _rounds(prompts, *sides)]
        fixed = self._fixed
        before = [fixed["before_prompt"], fixed["before_a"], fixed["before_b"]]
        overhead = sum(map(len, before)) + len(fixed["after_round"])
        budget = self.facts["max_length"] - len(fixed["start"]) - len(fixed["end"])
        cuts = self._cut([[len(text) for text in texts] for texts in rounds], budget, overhead)
        found = list(fixed["start"])
        for texts, cut in zip(rounds[len(rounds) - len(cuts) :], cuts, strict=True):
            for opening, text, (head, tail) in zip(before, texts, cut, strict=True):
                found += [*opening, *text[:head], *text[max(head, len(text) - tail) :]]
            found += fixed["after_round"]
        return found + fixed["end"]

    def logits(self, battles: Iterable[Battle], compute: Compute) -> list[list[float]]:
        """Give the logits of model_a, model_b and tie, over both orders where the run did so.

        Parameters
        ----------
        battles
            ``n`` of them.
        compute
            Gives the logits of ``n`` lists of token ids.
        """
        rows = list(battles)
        forward = compute([self.ids(row) for row in rows])
        if not self.facts["swap_tta"]:
            return forward
        back = compute([self.ids(row, swapped=True) for row in rows])
        return [
            [(a + other_a) / 2, (b + other_b) / 2, (tie + other_tie) / 2]
            for (a, b, tie), (other_b, other_a, other_tie) in zip(forward, back, strict=True)
        ]

    def probabilities(self, battles: Iterable[Battle], compute: Compute) -> list[list[float]]:
        """Give the probabilities, as ``logits``; in a task without ties that of a tie is 0."""
        import torch

        found = torch.tensor(self.logits(battles, compute), dtype=torch.float64)
        if not self.facts.get("ties", True) and len(found):
            found[:, 2] = float("-inf")
        shares: list[list[float]] = found.softmax(dim=-1).tolist()
        return shares

    def _encode(self, text: str) -> list[int]:
        found: list[int] = self._plain.encode(text, add_special_tokens=False).ids
        return found


class BattleClassifier:
    """Classifies battles as the run did that the model is of.

    Parameters
    ----------
    directory
        Of the exported model.
    device
        Where it computes.
    """

    def __init__(self, directory: str | Path, device: str = "cpu") -> None:
        from transformers import AutoModelForSequenceClassification

        self.input = BattleInput(directory)
        self.model: Any = AutoModelForSequenceClassification.from_pretrained(
            directory, local_files_only=True
        )
        self.model.to(device).eval()

    def logits(self, battles: Iterable[Battle], batch_size: int = 8) -> list[list[float]]:
        """Give the logits of model_a, model_b and tie, over both orders where the run did so."""
        return self.input.logits(battles, self._batched(batch_size))

    def probabilities(self, battles: Iterable[Battle], batch_size: int = 8) -> list[list[float]]:
        """Give the probabilities; in a task without ties that of a tie is 0."""
        return self.input.probabilities(battles, self._batched(batch_size))

    def _batched(self, batch_size: int) -> Compute:
        return partial(self._logits, batch_size=1 if self.input.facts["alone"] else batch_size)

    def _logits(self, rows: Sequence[list[int]], batch_size: int) -> list[list[float]]:
        import torch

        pad, device = self.model.config.get_text_config().pad_token_id, self.model.device
        order = sorted(range(len(rows)), key=lambda row: len(rows[row]))
        found: dict[int, list[float]] = {}
        for first in range(0, len(order), batch_size):
            batch = order[first : first + batch_size]
            width = max(len(rows[row]) for row in batch)
            ids = [rows[row] + [pad] * (width - len(rows[row])) for row in batch]
            mask = [[1] * len(rows[row]) + [0] * (width - len(rows[row])) for row in batch]
            with torch.inference_mode():
                out = self.model(
                    input_ids=torch.tensor(ids, device=device),
                    attention_mask=torch.tensor(mask, device=device),
                )
            found.update(zip(batch, out.logits.float().tolist(), strict=True))
        return [found[row] for row in range(len(rows))]


def _turns(part: Turns) -> list[str | None]:
    return [part] if isinstance(part, str) else list(part)


def _rounds(*parts: list[str | None]) -> list[list[str]]:
    """Put the turns of each round side by side; what is not there is empty."""
    rounds = list(zip_longest(*parts)) or [(None,) * len(parts)]
    return [[_to_utf8(text or "") for text in turns] for turns in rounds]


def _to_utf8(text: str) -> str:
    """Replace lone surrogates, which no tokenizer takes."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text
