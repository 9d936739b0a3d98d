"""How battles become token ids: the part of the learner that needs no weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ensemble_plugins.language_model.parameters import Parameters
from ensemble_plugins.language_model.text.privileged import privileged_texts

if TYPE_CHECKING:
    from pathlib import Path

    import polars as pl

    from ensemble_plugins.language_model.text.prompts import Template
    from ensemble_plugins.language_model.text.tokenization import BattleTokenizer
    from ensemble_plugins.language_model.text.tokens import Tokens

_PARITY_ROWS = 4


class Encoding(Parameters):
    """Battles as token ids, by the tokenizer and the template of a model."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.tokenizer_: BattleTokenizer | None = None
        self.cache_: Path | None = None
        self.template_: Template | None = None
        self.privileged_: tuple[str, ...] = ()

    def _tokens(self, battles: pl.DataFrame, max_length: int, *, swapped: bool = False) -> Tokens:
        texts = [battles[name].to_list() for name in ("prompt", "response_a", "response_b")]
        known = privileged_texts(battles, self.privileged_, swapped=swapped)
        return self._tokenizer().encode(*texts, max_length=max_length, swapped=swapped, known=known)

    def _tokenizer(self) -> BattleTokenizer:
        if self.tokenizer_ is None:
            self.tokenizer_ = self._make_tokenizer()
        return self.tokenizer_

    def _make_tokenizer(self) -> BattleTokenizer:
        from ensemble_plugins.language_model.model.padded import check_end, known_tokens
        from ensemble_plugins.language_model.model.positions import longest_row, warn_of_cuts
        from ensemble_plugins.language_model.model.weights import load_config, load_tokenizer
        from ensemble_plugins.language_model.text.tokenization import BattleTokenizer

        settings = self.model_settings()
        config = load_config(settings)
        longest = longest_row(config)
        lengths = {name: getattr(self, name) for name in ("train_length", "predict_length")}
        warn_of_cuts(longest, lengths, settings.model)
        tokenizer = load_tokenizer(settings)
        made = BattleTokenizer(
            tokenizer,
            self._template(),
            truncation=self.truncation,
            longest=longest,
            embedded=known_tokens(config),
            cache_directory=self.cache_,
        )
        check_end(config, made.prompt_tokens.fixed, tokenizer)
        return made

    def _template(self) -> Template:
        """Give the template in force."""
        from ensemble_plugins.language_model.model.templates import find_template

        if self.template_ is None:
            self.template_ = find_template(self.model_settings(), self.template)
        return self.template_

    def _pad_id(self) -> int:
        text = self._tokenizer()
        if text.filling is None:  # any token that no row ends with
            return int(0 in text.prompt_tokens.last)
        return text.special[text.filling]

    def _probe(self, battles: pl.DataFrame) -> Tokens:
        """Take a few rows from all over the battles."""
        spread = np.linspace(0, len(battles) - 1, min(_PARITY_ROWS, len(battles)))
        return self._tokens(battles[np.unique(spread.astype(int))], self.predict_length)
