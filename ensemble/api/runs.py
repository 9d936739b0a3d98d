"""A run directory as one object: what it holds, as frames, and what can be asked of it."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from ensemble.api.frames import load_battles
from ensemble.api.scores import SCORE_SCHEMA, score_table
from ensemble.api.shown import Comparison, Reviewed, Verdict, run_html
from ensemble.battles.prepared import read_battles
from ensemble.battles.schema import LOGIT_COLUMNS, TEST_ROLE, TEST_SOURCE, probability_frame
from ensemble.battles.split import read_current_split
from ensemble.compare.folds import read_manifests
from ensemble.compare.stacked import read_candidate, refuse_stale
from ensemble.config.load import load_run_config
from ensemble.errors import ArtifactError, ConfigError, EnsembleError
from ensemble.oof.eval_set import EvalSet
from ensemble.oof.store import FoldStore
from ensemble.review.review import ROWS
from ensemble.run_dir.layout import REPORT, STACK, SUBMISSION
from ensemble.run_dir.stack_files import read_verdict
from ensemble.run_dir.status import run_status
from ensemble.stages.audit import prove_stage
from ensemble.stages.compare import compare_stage
from ensemble.stages.merge import merge_stage
from ensemble.stages.report import report_stage
from ensemble.stages.review import review_stage
from ensemble.stages.work import writing
from ensemble.submission.export import export_fit, which_model
from ensemble.submission.holdout import read_holdout, told_of
from ensemble.submission.new_rows import predict_battles, read_test, reading_options
from ensemble.submission.record import submission_fault
from ensemble.submission.write import read_submission

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.figure import Figure

    from ensemble.audit.result import Audit
    from ensemble.battles.fold_plan import FoldPlan
    from ensemble.battles.turns import TextFormat
    from ensemble.config.settings import Config

CHOSEN = "stack"
"""Names the candidate that was chosen."""


class Run:
    """A run directory, finished or begun; nothing of it is read before it is asked for.

    Parameters
    ----------
    directory
        The ``run_dir`` of a config that has been run.

    Raises
    ------
    ConfigError
        It is no run directory.

    Notes
    -----
    What no stage has written yet is an ``ArtifactError`` that names the command that writes it.
    """

    def __init__(self, directory: str | Path) -> None:
        self.directory = Path(directory).resolve()
        load_run_config(self.directory)  # refuses what is no run

    def __repr__(self) -> str:
        return f"Run({str(self.directory)!r})"

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

    def status(self) -> dict[str, Any]:
        """Say how far it is, as ``ensemble status --json`` does; nothing is locked or written."""
        return run_status(self.directory)

    def plot(self, kind: str = "forest", name: str | None = None) -> Figure:
        """Draw a figure of the report.

        Parameters
        ----------
        kind
            ``"forest"``: learners and candidates with their intervals; ``"folds"``: learners by
            fold; ``"sources"``: by target source; ``"gains"``: of candidates over the best simple
            one; ``"calibration"``; ``"agreement"``: how alike the learners are; ``"importance"``:
            what the meta-learner uses; ``"labels"``: label shares of the sources; ``"timing"``.
        name
            For ``"calibration"``, a learner or ``"stack"``, the chosen candidate; for
            ``"importance"``, a candidate. None takes the chosen one, or the best.

        Returns
        -------
        matplotlib.figure.Figure
            A notebook shows it; ``savefig`` writes it. ``pyplot`` is not touched.

        Raises
        ------
        UnknownNameError
            There is no such figure, or no such learner or candidate.
        ArtifactError
            The run has not got far enough for it.
        """
        from ensemble.api.plots import draw

        return draw(self.directory, kind, name)

    def _repr_html_(self) -> str:
        facts: list[str] = []
        notes: list[str] = []
        verdict = ""
        scores = pl.DataFrame(schema=SCORE_SCHEMA)
        try:
            facts, notes = self._facts()
            scores = self.scores()
            verdict = self.verdict.get("sentence", "") if (self.directory / STACK).exists() else ""
        except EnsembleError as error:
            notes.append(f"{error.message}; {error.hint}" if error.hint else error.message)
        return run_html(self.directory.name, facts, scores, verdict, notes)

    def _facts(self) -> tuple[list[str], list[str]]:
        """Say how large a run is, and which folds of it are not there yet."""
        eval_set, store = self._eval_set, self._store
        facts = [f"{len(eval_set):,} target battles", f"{store.n_splits} folds"]
        done = {name: len(store.fitted_folds(name)) for name in self.learners}
        lacking = [
            f"{name} ({count} of {len(store.planned(name))} folds)"
            for name, count in done.items()
            if count < len(store.planned(name))
        ]
        notes = [f"Not fitted yet: {', '.join(lacking)}."] if lacking else []
        return facts, notes

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

    def predict(
        self,
        battles: Any,
        *,
        text_format: TextFormat | None = None,
        keep: Sequence[str] = (),
    ) -> pl.DataFrame:
        """Score new battles by the run's models; labels among them are not looked at.

        Parameters
        ----------
        battles
            A table of Polars or pandas with the columns of a test file, or the path of one.
        text_format
            As in ``[test]``; None reads texts as the run's test file has them.
        keep
            Learners, and the meta-learner, whose models may be asked though their code is another
            now than that which made them.

        Returns
        -------
        polars.DataFrame
            ``id`` and ``CLASSES``, in the order given.
        """
        config = self.config
        reading = reading_options(config, text_format=text_format)
        if isinstance(battles, str | Path):
            rows = read_test(Path(battles), reading)
        else:
            rows = load_battles(
                battles, source=TEST_SOURCE, role=TEST_ROLE, text_format=reading.text_format
            )
        return probability_frame(rows["id"], predict_battles(config, rows, keep))

    def export(
        self,
        learner: str,
        output: str | Path,
        *,
        fold: int | None = None,
        soup: bool = False,
        refit: bool = False,
        seed: int | None = None,
    ) -> dict[str, Any]:
        """Write a learner's model as a directory that other programs load.

        Parameters
        ----------
        learner
            Its name.
        output
            A directory that is not there yet, or is empty.
        fold, soup, refit
            Which of its models: one of the three is given.
        seed
            Which of several seeds.

        Returns
        -------
        dict
            ``output``, ``learner``, ``fit``; ``rows`` on which its logits were held against the
            run's, their ``max_difference`` and what of it is ``allowed``.

        Raises
        ------
        ConfigError
            No learner is called so, or its plugin exports nothing.
        ArtifactError
            The run has no such model, or it is damaged.
        LearnerError
            The exported model gives other logits than the run has; nothing is written then.
        """
        asked = which_model(fold=fold, soup=soup, refit=refit)
        return export_fit(self.config, learner, asked, Path(output), seed=seed)

    def audit(self, *, deep: bool = False) -> Audit:
        """Prove the run anew, and write the report that shows it.

        Parameters
        ----------
        deep
            Ask stored models again for a sample of what is stored of their predictions.
        """
        found, _, fault = prove_stage(self.directory, deep=deep)
        _warn_unstored("the audit", fault)
        return found

    def compare(self, *names: str, by: Sequence[str] = ()) -> Comparison:
        """Compare learners or candidates on the same target rows; the first is the reference.

        Parameters
        ----------
        names
            Two or more; ``"stack"`` is the chosen candidate, ``"OTHER_RUN:NAME"`` one of a run of
            the same battles and folds.
        by
            Feature columns to slice by.
        """
        found, _, fault = compare_stage(self.directory, names, by)
        _warn_unstored("the comparison", fault)
        return Comparison(found)

    def review(
        self,
        by: str | None = None,
        *,
        rows: int = ROWS,
        output: str | Path | None = None,
        measure: str | Path | None = None,
        shares: bool = False,
        learner: str | None = None,
    ) -> Reviewed:
        """List labels worth a second look, as ``ensemble review`` does, and write the list.

        Parameters
        ----------
        by
            Learner or candidate whose OOF predictions labels are held against; None takes the
            chosen candidate.
        rows
            Most rows that predictions contradict.
        output
            Where the list goes; None is ``review.csv`` in the run. Actions that a list there
            already has are kept.
        measure
            A list whose effect on the log loss is measured.
        shares
            Whether to measure leaving out the most contradicted rows.
        learner
            The learner that is fitted for it; None is a cheap one.

        Returns
        -------
        Reviewed
            ``rows``, a Polars frame, and ``summary``.

        Raises
        ------
        ArtifactError
            There are no battles yet, or something is damaged.
        UnknownNameError
            ``by`` is no learner and no candidate.
        """
        found, record = review_stage(
            self.directory,
            by=by,
            rows=rows,
            output=None if output is None else Path(output),
            measure=None if measure is None else Path(measure),
            shares=shares,
            learner=learner,
        )
        return Reviewed(found.rows, record.told())

    def merge(self, *others: str | Path, dry_run: bool = False) -> pl.DataFrame:
        """Take folds that were fitted elsewhere, each with proof, as ``ensemble merge`` does.

        Parameters
        ----------
        others
            Directories of other runs of the same battles and folds.
        dry_run
            Whether to say what would be taken, and write nothing.

        Returns
        -------
        polars.DataFrame
            ``run``, ``learner``, ``fit``, ``outcome`` (``taken``, ``would be taken``,
            ``there already`` or ``refused``) and ``reason``, one row for each fit.

        Raises
        ------
        ConfigError
            A directory is no run, or it is this one.
        """
        offers = merge_stage(self.directory, [Path(one) for one in others], dry_run=dry_run)
        names = ("run", "learner", "fit", "outcome", "reason")
        schema = dict.fromkeys(names, pl.String)
        return pl.DataFrame([offer.to_json() for offer in offers], schema=schema)

    def report(self) -> Path:
        """Write ``report.html`` of all that is there; gives its path."""
        with writing(self.config) as reporter:
            report_stage(self.config, reporter)
        return self.directory / REPORT

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


def _warn_unstored(what: str, fault: str | None) -> None:
    if fault is not None:
        warnings.warn(f"{what} is not stored: {fault}", stacklevel=3)
