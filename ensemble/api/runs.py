"""A run directory as one object: what it holds, and what can be asked of it."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from ensemble.api.frames import load_battles
from ensemble.api.scores import SCORE_SCHEMA
from ensemble.api.shown import Comparison, Reviewed, run_html
from ensemble.api.stored import StoredRun
from ensemble.battles.schema import TEST_ROLE, TEST_SOURCE, probability_frame
from ensemble.errors import EnsembleError
from ensemble.review.review import ROWS
from ensemble.run_dir.layout import REPORT, STACK
from ensemble.run_dir.status.status import run_status
from ensemble.stages.audit import prove_stage
from ensemble.stages.compare import compare_stage
from ensemble.stages.merge import merge_stage
from ensemble.stages.report import report_stage
from ensemble.stages.review import review_stage
from ensemble.stages.work import writing
from ensemble.submission.export import export_fit, which_model
from ensemble.submission.new_rows import predict_battles
from ensemble.submission.reading import read_test, reading_options

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.figure import Figure

    from ensemble.audit.result import Audit
    from ensemble.battles.turns import TextFormat


class Run(StoredRun):
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


def _warn_unstored(what: str, fault: str | None) -> None:
    if fault is not None:
        warnings.warn(f"{what} is not stored: {fault}", stacklevel=3)
