"""How likely each language is, for many texts at once.

The model and the answer are those of py3langid, a naive Bayes classifier on n-grams of bytes, which
an automaton finds. The library takes one text after another, a byte at a time in Python; here all
texts go through its automaton together. Only names that the library has in the open are used, and
its own answers to a few sentences are compared once a process: another layout of the model is an
error, never another answer.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from functools import cached_property, lru_cache
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np

from ensemble.errors import EnsembleError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from scipy.sparse import csr_array

    from ensemble.plugin.base import IntArray, LogitArray

_PROBES = (
    "The same question in a few words.",
    "\u042d\u0442\u043e \u043a\u043e\u0440\u043e\u0442\u043a\u0438\u0439 "
    "\u0432\u043e\u043f\u0440\u043e\u0441.",
    "\u8fd9\u662f\u4e00\u4e2a\u95ee\u9898\u3002",
)
_TOLERANCE = 1e-3
_LOADING = Lock()


@dataclass(frozen=True)
class LanguageModel:
    """A classifier of py3langid, restricted to some languages.

    Parameters
    ----------
    identifier
        ``py3langid.langid.LanguageIdentifier`` with normalized probabilities.
    """

    identifier: Any

    @property
    def labels(self) -> tuple[str, ...]:
        """ISO 639 codes, one a column of the probabilities; some stand twice (two scripts)."""
        return tuple(self.identifier.nb_classes)

    def probabilities(self, texts: Sequence[str]) -> LogitArray:
        """Give the probability of each label.

        Parameters
        ----------
        texts
            ``n`` texts; a row of the result depends on its own text alone.

        Returns
        -------
        LogitArray
            ``(n, len(labels))`` float32. Labels are equally likely where a text says nothing.
        """
        encoded = [_encoded(text) for text in texts]
        counts = self._counts(encoded)
        prior = np.where(np.diff(counts.indptr)[:, None] > 0, self.identifier.nb_pc, 0)
        counts.data = np.log1p(counts.data)
        scores = counts @ self._table + prior
        # As the library does: longer texts would otherwise be too sure.
        scores /= np.sqrt([len(text) or 1 for text in encoded])[:, None]
        scores = np.exp(scores - scores.max(axis=1, keepdims=True, initial=-np.inf))
        return np.asarray(scores / scores.sum(axis=1, keepdims=True), dtype=np.float32)

    def _counts(self, texts: list[bytes]) -> csr_array:
        """Count the n-grams of each text, ``(n, n_features)``."""
        from scipy.sparse import csr_array

        rows, features = self._walk(texts)
        shape = (len(texts), len(self._table))
        return csr_array((np.ones(len(rows), np.float32), (rows, features)), shape=shape)

    def _walk(self, texts: list[bytes]) -> tuple[IntArray, IntArray]:
        """Take all texts through the automaton together: rows and n-grams found in them."""
        lengths = np.array([len(text) for text in texts], dtype=np.int64)
        order = np.argsort(-lengths, kind="stable")  # those still going stand first
        width = int(lengths.max(initial=0))
        padded = np.zeros((width, len(texts)), dtype=np.int32)
        for place, row in enumerate(order):
            padded[: lengths[row], place] = np.frombuffer(texts[row], dtype=np.uint8)
        going = np.searchsorted(-lengths[order], -np.arange(width), side="left")
        state = np.zeros(len(texts), dtype=np.int32)
        rows, features = [np.zeros(0, np.int64)], [np.zeros(0, np.int32)]
        for step, number in enumerate(going):
            state = self._next[self._row[state[:number]] + padded[step, :number]]
            found = self._output[state]
            hits = np.flatnonzero(found >= 0)
            rows.append(order[hits])
            features.append(found[hits])
        return np.concatenate(rows), np.concatenate(features)

    @cached_property
    def _next(self) -> NDArray[Any]:
        return np.asarray(self.identifier.tk_nextmove)

    @cached_property
    def _row(self) -> IntArray:
        """For each state, where its 256 transitions begin."""
        return np.asarray(self.identifier.tk_row, dtype=np.int32) << 8

    @cached_property
    def _output(self) -> IntArray:
        return np.asarray(self.identifier.tk_output, dtype=np.int32)

    @cached_property
    def _table(self) -> LogitArray:
        return np.asarray(self.identifier.nb_ptc, dtype=np.float32)


def load_model(languages: Sequence[str]) -> LanguageModel:
    """Load the library's model, once a process, with some of its languages.

    Parameters
    ----------
    languages
        ISO 639 codes as the library has them.

    Raises
    ------
    EnsembleError
        The installed version of the library has a model that is read in another way.
    """
    with _LOADING:  # columns ask for it from several threads at once
        return _load(tuple(languages))


@lru_cache(maxsize=1)
def _load(languages: tuple[str, ...]) -> LanguageModel:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    identifier.set_languages(languages)
    model = LanguageModel(identifier)
    _check(model)
    return model


def _check(model: LanguageModel) -> None:
    """Hold the probabilities of a few sentences against the library's own.

    Raises
    ------
    EnsembleError
        They differ.
    """
    for text, row in zip(_PROBES, model.probabilities(_PROBES), strict=True):
        language, probability = model.identifier.classify(text)
        same = [label == language for label in model.labels]
        if abs(float(row[same].sum()) - probability) > _TOLERANCE:
            raise EnsembleError(
                "the installed py3langid identifies languages in another way than is known here",
                hint="install the version that pyproject.toml asks for",
            )


def _encoded(text: str) -> bytes:
    """Write a text down as the library does: composed, and not in capitals throughout."""
    lower = text.lower() if text.isupper() else text
    return unicodedata.normalize("NFC", lower).encode("utf-8", "surrogatepass")
