"""A linear model on n-grams of both responses and the prompt, indifferent to sides.

Which response wins is read from the difference of their tf-idf vectors; whether it is a tie from
what does not change when the sides are exchanged: the absolute difference, the cosine, the prompt.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np

from ensemble.errors import ArtifactError
from ensemble.plugin.base import CLASSES, BaseLearner
from ensemble.plugin.suggestion import Suggestion
from ensemble.storage.json_files import read_json, write_json
from ensemble_plugins.estimates import BASIS, cheap_minutes
from ensemble_plugins.ngrams import BUCKET_BITS, count_char_ngrams, count_word_ngrams
from ensemble_plugins.privileged_levels import Levels
from ensemble_plugins.soft_labels import LearnsSoftLabels, TeacherMean
from ensemble_plugins.symmetric_logistic import SymmetricLogistic, fit_symmetric_logistic

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import polars as pl
    from scipy.sparse import csr_array

    from ensemble.plugin.base import FitContext, FloatArray, IntArray, LogitArray
    from ensemble.plugin.suggestion import DataSummary, Machine

_RIDGE = 4.0
"""The ridge that goes with one row more in each class."""
_TEXTS = ("response_a", "response_b", "prompt")
_WEIGHTS, _FACTS = "tfidf.safetensors", "tfidf.json"
_MILLISECONDS, _LONGEST = 0.002, 100_000
"""Measured time for a token of a row, of one core, and the tokens from which on it is no more."""
_COSINE_SCALE = 3.0
"""One dense column among thousands of sparse ones: scaled up, so that the ridge spares it."""


class Tfidf(LearnsSoftLabels, BaseLearner):
    """Logistic regression on tf-idf of hashed n-grams.

    Term counts enter as ``1 + log(count)``, times the inverse document frequency among the training
    responses. The two responses of a battle are divided by their common norm, not each by its own,
    so that the longer one stays the longer one. Rows of the training fold alone decide which
    n-grams are kept. Labels may be soft.

    Parameters
    ----------
    char_ngrams
        Least and greatest length of character n-grams; empty for none.
    word_ngrams
        The same for words, punctuation marks and line ends.
    min_df
        Responses that an n-gram must be in to be kept.
    max_features
        Most n-grams kept, by document frequency.
    ridge
        Strength of the penalty, above 0: the inverse of scikit-learn's ``C``. Sample weights are
        scaled to a mean of 1 first.
    teachers, distillation, teacher_mean, teacher_weights
        See ``LearnsSoftLabels``.

    Raises
    ------
    ValueError
        A value is out of its range, or both kinds of n-grams are empty.
    """

    version = "2"
    takes_offset = True
    cheap = True
    symmetric = True

    def __init__(
        self,
        *,
        char_ngrams: Sequence[int] = (2, 3),
        word_ngrams: Sequence[int] = (),
        min_df: int = 5,
        max_features: int = 50_000,
        ridge: float = _RIDGE,
        teachers: Sequence[str] = (),
        distillation: float = 0.5,
        teacher_mean: TeacherMean = "logits",
        teacher_weights: Sequence[float] = (),
    ) -> None:
        if not (char_ngrams or word_ngrams):
            raise ValueError("char_ngrams and word_ngrams are both empty: give one of them")
        _check_lengths("char_ngrams", char_ngrams)
        _check_lengths("word_ngrams", word_ngrams)
        if min_df < 1 or max_features < 1 or not ridge > 0:
            raise ValueError("min_df and max_features must be 1 or more, and ridge above 0")
        self.char_ngrams = char_ngrams
        self.word_ngrams = word_ngrams
        self.min_df = min_df
        self.max_features = max_features
        self.ridge = ridge
        self.teachers = teachers
        self.distillation = distillation
        self.teacher_mean: TeacherMean = teacher_mean
        self.teacher_weights = teacher_weights
        self._check_teachers()
        self.levels_ = Levels()
        self.columns_: IntArray
        self.idf_: FloatArray
        self.model_: SymmetricLogistic

    @classmethod
    def suggest(cls, data: DataSummary, machine: Machine) -> Sequence[Suggestion]:
        """Suggest the defaults; the time goes with the length of the texts."""
        milliseconds = _MILLISECONDS * data.mean_tokens(_LONGEST)
        minutes = cheap_minutes(data, machine, milliseconds, pretrains=False)
        return [Suggestion(note="a linear model on n-grams", minutes=minutes, basis=BASIS)]

    def fit(
        self,
        battles: pl.DataFrame,
        labels: FloatArray,
        *,
        sample_weight: FloatArray | None = None,
        groups: IntArray | None = None,  # noqa: ARG002 - nothing is stopped early
        context: FitContext,
    ) -> Self:
        """Learn from battles; see ``BaseLearner.fit``."""
        counts = [self._count(battles[name]) for name in _TEXTS]
        self._choose_columns(counts[0], counts[1])
        context.progress(0.5, "n-grams counted")
        # Counts are let go one by one: with 55,000 battles each is hundreds of megabytes.
        odd, even = _pair_features([self._weigh(counts.pop(0)) for _ in range(3)])
        self.levels_ = Levels.of(battles, context.privileged)
        odd, even = self._beside(odd, even, battles)
        labels = self._taught(labels, context)
        weight = np.ones(len(battles)) if sample_weight is None else sample_weight
        rows = _Rows(odd, even, labels, weight / weight.mean(), context.offset)
        rows = rows.smoothed(self.ridge / _RIDGE)
        self.model_ = fit_symmetric_logistic(
            rows.odd, rows.even, rows.labels, rows.weight, ridge=self.ridge, offset=rows.offset
        )
        return self

    def predict_logits(self, battles: pl.DataFrame) -> LogitArray:
        """Give logits ``(n, 3)`` float32; a row's do not depend on the rows beside it."""
        rows = [self._weigh(self._count(battles[name])) for name in _TEXTS]
        seen = self._beside(*_pair_features(rows), battles)
        return self.model_.logits(*seen).astype(np.float32)

    def save(self, directory: Path) -> None:
        """Write the kept n-grams' buckets, their idf and the weights."""
        from safetensors.numpy import save_file

        arrays = {
            "columns": self.columns_,
            "idf": self.idf_,
            "odd": self.model_.odd,
            "even": self.model_.even,
            "intercept": np.array([self.model_.intercept]),
        }
        save_file(arrays, directory / _WEIGHTS)
        write_json(directory / _FACTS, self._facts())
        self.levels_.save(directory)

    def load(self, directory: Path) -> Self:
        """Restore what ``save`` wrote.

        Raises
        ------
        ArtifactError
            The model was made with other n-grams than this instance's.
        """
        from safetensors.numpy import load_file

        if (stored := read_json(directory / _FACTS)) != self._facts():
            raise ArtifactError(
                f"the stored model counts other n-grams: {stored}",
                where=str(directory / _FACTS),
                hint=f"load it with the parameters it was made with; these are {self._facts()}",
            )
        self.levels_ = Levels.load(directory)
        arrays = load_file(directory / _WEIGHTS)
        self.columns_, self.idf_ = arrays["columns"], arrays["idf"]
        self.model_ = SymmetricLogistic(
            arrays["odd"], arrays["even"], float(arrays["intercept"][0])
        )
        return self

    def _beside(
        self, odd: csr_array, even: csr_array, battles: pl.DataFrame
    ) -> tuple[csr_array, csr_array]:
        """Put privileged columns beside n-grams."""
        from scipy.sparse import csr_array, hstack

        if not len(self.levels_):
            return odd, even
        added = csr_array(self.levels_.odd(battles)), csr_array(self.levels_.even(battles))
        parts = ((odd, added[0]), (even, added[1]))
        one, other = (csr_array(hstack(part, format="csr")) for part in parts)
        return one, other

    def _facts(self) -> dict[str, Any]:
        return {
            "char_ngrams": list(self.char_ngrams),
            "word_ngrams": list(self.word_ngrams),
            "bucket_bits": BUCKET_BITS,
        }

    def _count(self, column: pl.Series) -> csr_array:
        """Count n-grams of every kind, side by side: ``(n, kinds * 2**BUCKET_BITS)``."""
        from scipy.sparse import csr_array, hstack

        texts = ["\n".join(turn or "" for turn in turns) for turns in column.to_list()]
        kinds = []
        if self.char_ngrams:
            kinds.append(count_char_ngrams(texts, (self.char_ngrams[0], self.char_ngrams[1])))
        if self.word_ngrams:
            kinds.append(count_word_ngrams(texts, (self.word_ngrams[0], self.word_ngrams[1])))
        return csr_array(hstack(kinds, format="csr")) if len(kinds) > 1 else kinds[0]

    def _choose_columns(self, a: csr_array, b: csr_array) -> None:
        """Keep the n-grams that enough training responses have, and weigh them."""
        frequency = np.bincount(np.concatenate([a.indices, b.indices]), minlength=a.shape[1])
        kept = np.flatnonzero(frequency >= self.min_df)
        # Stable: among equals the lower bucket stays, on every machine.
        commonest = np.argsort(-frequency[kept], kind="stable")[: self.max_features]
        self.columns_ = np.sort(kept[commonest])
        documents = a.shape[0] + b.shape[0]
        self.idf_ = np.log((1 + documents) / (1 + frequency[self.columns_])) + 1

    def _weigh(self, counts: csr_array) -> csr_array:
        """Turn counts into tf-idf of the kept columns, not normalized."""
        kept = counts[:, self.columns_].astype(np.float64)
        kept.data = (1.0 + np.log(kept.data)) * self.idf_[kept.indices]
        return kept


def _check_lengths(name: str, lengths: Sequence[int]) -> None:
    if lengths and not (len(lengths) == 2 and 1 <= lengths[0] <= lengths[1]):
        raise ValueError(f"{name} must be empty or [least, greatest], 1 or more; got {lengths}")


class _Rows(NamedTuple):
    """What the regression learns from."""

    odd: csr_array
    even: csr_array
    labels: FloatArray
    weight: FloatArray
    offset: FloatArray | None

    def smoothed(self, weight: float) -> _Rows:
        """Add a row without words to each class: one that is not there is rare, and no more."""
        one_each = np.eye(len(CLASSES))
        mean = 0.0 if self.offset is None else np.average(self.offset, axis=0, weights=self.weight)
        return _Rows(
            _with_empty_rows(self.odd, len(one_each)),
            _with_empty_rows(self.even, len(one_each)),
            np.concatenate([self.labels, one_each]),
            np.concatenate([self.weight, np.full(len(one_each), weight)]),
            None if self.offset is None else np.concatenate([self.offset, mean + 0 * one_each]),
        )


def _with_empty_rows(table: csr_array, count: int) -> csr_array:
    from scipy.sparse import csr_array, vstack

    return csr_array(vstack([table, csr_array((count, table.shape[1]))]))


def _pair_features(weighed: list[csr_array]) -> tuple[csr_array, csr_array]:
    """Give the features that change their sign with the sides, and those that do not.

    ``weighed`` holds tf-idf rows of side A, side B and the prompt.
    """
    from scipy.sparse import csr_array, hstack

    a, b, prompt = weighed
    squares = _squares(a), _squares(b)
    common = _inverse(np.sqrt(squares[0] + squares[1]))
    odd = _scale_rows(a - b, common)
    cosine = _cosine(a, b, np.sqrt(squares[0] * squares[1]))
    cosine[(squares[0] == 0) & (squares[1] == 0)] = 1.0  # two empty responses are the same
    even = [
        abs(odd),
        _scale_rows(prompt, _inverse(np.sqrt(_squares(prompt)))),
        csr_array(_COSINE_SCALE * cosine[:, None]),
    ]
    return odd, csr_array(hstack(even, format="csr"))


def _squares(rows: csr_array) -> FloatArray:
    return np.asarray(rows.multiply(rows).sum(axis=1), dtype=np.float64)


def _cosine(a: csr_array, b: csr_array, norms: FloatArray) -> FloatArray:
    return np.asarray(a.multiply(b).sum(axis=1), dtype=np.float64) * _inverse(norms)


def _inverse(norms: FloatArray) -> FloatArray:
    """Invert norms; 0 stays 0, so that an empty text stays an empty vector."""
    return np.divide(1.0, norms, out=np.zeros_like(norms), where=norms > 0)


def _scale_rows(rows: csr_array, factors: FloatArray) -> csr_array:
    scaled = rows.tocsr(copy=True)
    scaled.data *= np.repeat(factors, np.diff(scaled.indptr))
    return scaled
