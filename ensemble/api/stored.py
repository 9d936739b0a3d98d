"""What a run directory holds, as frames; nothing of it is read before it is asked for."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from ensemble.api.scores import score_table
from ensemble.api.shown import Verdict
from ensemble.battles.prepared import read_battles
from ensemble.battles.schema import LOGIT_COLUMNS, probability_frame
from ensemble.battles.split import read_current_split
from ensemble.compare.folds import read_manifests
from ensemble.compare.stacked import CHOSEN, read_candidate, refuse_stale
from ensemble.config.load import load_run_config
from ensemble.errors import ArtifactError, ConfigError
from ensemble.oof.eval_set import EvalSet
from ensemble.oof.store import FoldStore
from ensemble.run_dir.layout import STACK, SUBMISSION
from ensemble.run_dir.stack_files import read_verdict
from ensemble.submission.holdout import read_holdout, told_of
from ensemble.submission.parse import read_submission
from ensemble.submission.record import submission_fault

if TYPE_CHECKING:
    from ensemble.battles.fold_plan import FoldPlan
    from ensemble.config.settings import Config


class StoredRun:
    """What a run directory holds; ``Run`` says the rest."""

    def __init__(self, directory: str | Path) -> None:
        self.directory = Path(directory).resolve()
        load_run_config(self.directory)  # refuses what is no run

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self.directory)!r})"

    @property
    def config(self) -> Config:
        """The config as resolved."""
        return load_run_config(self.directory)

    @property
    def battles(self) -> pl.DataFrame:
        """All battles, the test rows included: ``BATTLE_SCHEMA``."""
        return read_battles(self.directory)[0]

    @property
    def folds(self) -> pl.DataFrame:
        """The fold plan: ``id``, ``source``, ``role``, ``cluster``, ``fold``."""
        return self._plan.frame

    @property
    def learners(self) -> list[str]:
        """Names of the learners, in the order of the config."""
        return [learner.name for learner in self.config.learners]

    @property
    def verdict(self) -> Verdict:
        """Which candidate is used and why: the content of ``verdict.json``.

        Raises
        ------
        ArtifactError
            There is no stack, or it was made from other predictions than the run has now.
        """
        if not (self.directory / STACK).exists():
            raise ArtifactError(
                "there is no stack yet",
                where=str(self.directory),
                hint="run `ensemble stack CONFIG`",
            )
        refuse_stale(self._store)
        return Verdict(read_verdict(self.directory / STACK))

    @property
    def submission(self) -> pl.DataFrame:
        """What ``submission.csv`` says of the test rows: ``id``, and what ``[task]`` asks for.

        Probabilities in the columns ``CLASSES``, without the tie's in a task without ties; or
        ``winner``.

        Raises
        ------
        ArtifactError
            There is none, or it is not what the run's stack predicts.
        """
        if not (self.directory / SUBMISSION).exists():
            raise ArtifactError(
                "there is no submission yet",
                where=str(self.directory),
                hint="run `ensemble predict CONFIG`; its config needs a [test] table",
            )
        if fault := submission_fault(self.directory, self.config):
            raise ArtifactError(
                fault, where=str(self.directory), hint="run `ensemble run CONFIG` to its end"
            )
        return read_submission(self.directory / SUBMISSION)

    @property
    def holdout(self) -> dict[str, Any]:
        """The last score, on the rows that ``[folds] holdout`` keeps: ``holdout.json``.

        ``chosen``, ``rows``, ``clusters``; under ``candidates`` and ``learners`` the ``log_loss``
        and ``accuracy`` of each with their intervals; ``looks``, former scores; and ``sentence``.

        Raises
        ------
        ArtifactError
            There is no hold-out, or no score of it by the run as it is.
        """
        return told_of(read_holdout(self.directory, self.config))

    def scores(self) -> pl.DataFrame:
        """Give log loss and accuracy of each learner that has been fitted and of each candidate.

        Returns
        -------
        polars.DataFrame
            ``name``; ``kind``, "learner", "candidate" or "teacher" (not stacked); ``log_loss`` with
            the ends of its 95% interval, ``low`` and ``high``; ``accuracy`` with ``accuracy_low``
            and ``accuracy_high``; ``rows`` that they are means of; ``folds`` that are fitted;
            ``chosen``; ``proven``, false where nobody knows what a learner was trained on. Null
            where nothing was measured. Candidates are there once they are stacked, and as long as
            the stack is of the run as it is now. Best first, by the metric of ``[task]``.

        Raises
        ------
        ArtifactError
            There is no fold plan yet, or a fold is damaged or of other settings.
        """
        return score_table(self.config, self._store, self._eval_set)

    def oof(self, learner: str) -> pl.DataFrame:
        """Give a learner's out-of-fold logits.

        Parameters
        ----------
        learner
            Its name.

        Returns
        -------
        polars.DataFrame
            ``id``, ``fold`` and ``LOGIT_COLUMNS``, one row for each target row but those of the
            hold-out; NaN where the fold has not been fitted, or the row is in none. In a task
            without ties the tie's logit is minus infinity.

        Raises
        ------
        ConfigError
            No learner is called so.
        ArtifactError
            A fold is damaged, predicts rows that it does not hold out, or was made with other
            settings than the others or than the config has; or there is none.
        """
        asked, eval_set, store = self.config.learner(learner), self._eval_set, self._store
        read_manifests(store, asked)
        logits = store.oof(asked.name, eval_set)
        columns = {column: logits[:, i] for i, column in enumerate(LOGIT_COLUMNS)}
        found = eval_set.rows.select("id", "fold").with_columns(**columns)
        return self._with_unscored(found)

    def test(self, learner: str) -> pl.DataFrame:
        """Give a learner's logits of the test rows: of its folds' models, its refit or its soup.

        Returns
        -------
        polars.DataFrame
            ``id`` and ``LOGIT_COLUMNS``.
        """
        asked, store = self.config.learner(learner), self._store
        if asked.privileged:
            raise ConfigError(
                f'"{learner}" predicts no test rows: it sees {", ".join(asked.privileged)}, which '
                "do not exist at test time"
            )
        read_manifests(store, asked)
        ids = self.battles.filter(pl.col("is_test"))["id"]
        logits = store.test_logits(asked.name, self.config.models_of(asked.name), ids)
        return pl.DataFrame({"id": ids, **{c: logits[:, i] for i, c in enumerate(LOGIT_COLUMNS)}})

    def probabilities(self, candidate: str = CHOSEN) -> pl.DataFrame:
        """Give nested out-of-fold probabilities of a candidate of the stack.

        Parameters
        ----------
        candidate
            Its name; ``"stack"`` is the chosen one.

        Returns
        -------
        polars.DataFrame
            ``id`` and ``CLASSES``, one row for each target row but those of the hold-out; NaN where
            it was not scored.
        """
        eval_set = self._eval_set
        values, _ = read_candidate(self._store, candidate, eval_set.rows)
        return self._with_unscored(probability_frame(eval_set.ids, values))

    @property
    def _plan(self) -> FoldPlan:
        return read_current_split(self.config, read_battles(self.directory)[1])

    def _with_unscored(self, predicted: pl.DataFrame) -> pl.DataFrame:
        """Add the target rows that no fold predicts, with NaN: the first of time, say."""
        plan = self._plan
        others = plan.frame.filter(plan.unscored())["id"]
        numbers = [name for name, kind in predicted.schema.items() if kind.is_float()]
        rows = pl.DataFrame({"id": others}, schema={"id": pl.String})
        empty = rows.with_columns(pl.lit(float("nan")).alias(name) for name in numbers)
        return pl.concat([predicted, empty], how="diagonal_relaxed").select(
            pl.col(name).cast(kind) for name, kind in predicted.schema.items()
        )

    @property
    def _eval_set(self) -> EvalSet:
        return EvalSet.of(self.battles, self._plan)

    @property
    def _store(self) -> FoldStore:
        plan, data = self._plan, read_battles(self.directory)[1]
        config, n_splits = self.config, plan.n_splits
        only = config.some_folds(n_splits)
        return FoldStore(self.directory, plan.fingerprint, data, n_splits, config.task.ties, only)
