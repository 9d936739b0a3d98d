"""A run from Python, in a script or a notebook: ``ensemble.run`` makes one, ``Run`` reads one."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from ensemble import pipeline
from ensemble.battles import loading
from ensemble.battles.formats.layout import FormatOptions
from ensemble.battles.prepare import read_battles
from ensemble.battles.schema import LOGIT_COLUMNS, TEST_ROLE, TEST_SOURCE, probability_frame
from ensemble.battles.split import read_current_split
from ensemble.compare.folds import read_manifests
from ensemble.compare.stacked import read_candidate, refuse_stale
from ensemble.config.load import check_config, load_config, load_run_config, parse_config
from ensemble.config.settings import Config
from ensemble.errors import ArtifactError, DataError, InputError
from ensemble.oof.eval_set import EvalSet
from ensemble.oof.store import FoldStore
from ensemble.run_dir.layout import CONFIG, REPORT, STACK, SUBMISSION
from ensemble.run_dir.stack_files import read_verdict
from ensemble.stages.audit import prove_stage
from ensemble.stages.compare import compare_stage
from ensemble.stages.report import report_stage
from ensemble.stages.work import writing
from ensemble.submission.new_rows import predict_battles, read_test, reading_options
from ensemble.submission.record import submission_fault
from ensemble.submission.write import read_submission

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ensemble.audit.result import Audit
    from ensemble.battles.folds import FoldPlan
    from ensemble.battles.turns import TextFormat
    from ensemble.plugin.base import Loader
    from ensemble.run_dir.reporter import ProgressDisplay

CHOSEN = "stack"
"""Names the candidate that was chosen."""


def run(
    config: str | Path | Mapping[str, Any] | Config,
    *,
    refit: Sequence[str] = (),
    keep: Sequence[str] = (),
    progress: bool | None = None,
) -> Run:
    """Do all of it: from the sources to submission and report.

    Parameters
    ----------
    config
        The path of a config, its tables as a dictionary, whose relative paths start in the current
        directory, or a ``Config``.
    refit, keep
        Learners whose fits, where other code of their plugin has made them, are made anew or kept.
    progress
        Whether progress is shown; None shows it in a notebook and on a terminal.

    Returns
    -------
    Run
        The finished run; the same call again resumes it.

    Raises
    ------
    EnsembleError
        What went wrong, where, and how to fix it. Everything complete by then is kept.

    Examples
    --------
    >>> import ensemble
    >>> run = ensemble.run("config.toml")  # doctest: +SKIP
    >>> run.verdict["sentence"]  # doctest: +SKIP
    """
    settings = _settings(config)
    return Run(pipeline.run(settings, _display(progress), refit=refit, keep=keep))


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
    def verdict(self) -> dict[str, Any]:
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
        return read_verdict(self.directory / STACK)

    @property
    def submission(self) -> pl.DataFrame:
        """Probabilities of the test rows: ``id`` and ``CLASSES``.

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

    def oof(self, learner: str) -> pl.DataFrame:
        """Give a learner's out-of-fold logits.

        Parameters
        ----------
        learner
            Its name.

        Returns
        -------
        polars.DataFrame
            ``id``, ``fold`` and ``LOGIT_COLUMNS``, one row for each target row; NaN where the fold
            has not been fitted.

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
        return eval_set.rows.select("id", "fold").with_columns(**columns)

    def test(self, learner: str) -> pl.DataFrame:
        """Give a learner's logits of the test rows, averaged over its folds' models or the refit.

        Returns
        -------
        polars.DataFrame
            ``id`` and ``LOGIT_COLUMNS``.
        """
        asked, store = self.config.learner(learner), self._store
        read_manifests(store, asked)
        ids = self.battles.filter(pl.col("is_test"))["id"]
        logits = store.test_logits(asked.name, self.config.predict.models, ids)
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
            ``id`` and ``CLASSES``, one row for each target row; NaN where it was not scored.
        """
        eval_set = self._eval_set
        values, _ = read_candidate(self._store, candidate, eval_set.rows)
        return probability_frame(eval_set.ids, values)

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

    def compare(self, *names: str, by: Sequence[str] = ()) -> dict[str, Any]:
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
        return found

    def report(self) -> Path:
        """Write ``report.html`` of all that is there; gives its path."""
        with writing(self.config) as reporter:
            report_stage(self.config, reporter)
        return self.directory / REPORT

    @property
    def _plan(self) -> FoldPlan:
        return read_current_split(self.config, read_battles(self.directory)[1])

    @property
    def _eval_set(self) -> EvalSet:
        return EvalSet.of(self.battles, self._plan)

    @property
    def _store(self) -> FoldStore:
        plan, data = self._plan, read_battles(self.directory)[1]
        return FoldStore(self.directory, plan.fingerprint, data, plan.n_splits)


def _warn_unstored(what: str, fault: str | None) -> None:
    if fault is not None:
        warnings.warn(f"{what} is not stored: {fault}", stacklevel=3)


def load_battles(
    battles: Any,
    *,
    source: str = "battles",
    role: str = "target",
    text_format: TextFormat = "auto",
    **options: Any,
) -> pl.DataFrame:
    """Read battles of any known format into the toolkit's own table.

    Parameters
    ----------
    battles
        The path of a file, a pattern or a directory of shards, or a table of Polars or pandas.
    source, role
        What the rows are recorded under; rows of role ``"test"`` need no labels.
    text_format
        What a string in a text column is: a JSON list of turns, or one plain turn; ``"auto"`` tells
        by the first rows.
    **options
        Of :class:`~ensemble.battles.formats.layout.FormatOptions`, which a config gives a source
        too: ``format``, ``columns``, ``winner``, ``pairs``, ``tie_below``, ``temperature``,
        ``score``, ``make_ids``, ``sides``.

    Returns
    -------
    polars.DataFrame
        ``BATTLE_SCHEMA``, in the order given.

    Raises
    ------
    DataError
        It cannot be read, has wrong columns, unreadable rows, or an id more than once.
    """
    is_path = isinstance(battles, str | Path)
    return loading.load_battles(
        Path(battles) if is_path else Path("the table"),
        source=source,
        role=role,
        is_test=role == TEST_ROLE,
        text_format=text_format,
        options=FormatOptions(**options),
        loader=None if is_path else _loader_of(battles),
        loader_name="" if is_path else "table",
    ).battles


def _loader_of(table: Any) -> Loader:
    def load(path: Path, **options: Any) -> pl.DataFrame:  # noqa: ARG001 - the table is given
        return _as_polars(table)

    return load


def _as_polars(table: Any) -> pl.DataFrame:
    """Take a table of Polars as it is, and one of pandas cell by cell."""
    if isinstance(table, pl.DataFrame):
        return table
    if hasattr(table, "columns") and hasattr(table, "notna"):
        return _from_pandas(table)
    raise InputError(
        f"battles are a path or a table, and not a {type(table).__name__}",
        hint="give a Polars or pandas DataFrame, or the path of a file",
    )


def _from_pandas(table: Any) -> pl.DataFrame:
    """Take the cells of a pandas table; what it calls missing is missing.

    Raises
    ------
    DataError
        Two columns have one name, or the cells of one are of several kinds.
    """
    names = [str(name) for name in table.columns]
    for name in names:
        if names.count(name) > 1:
            raise DataError(f'two columns are called "{name}"', where="the table")
    cells, columns = table.astype(object).where(table.notna(), None), {}
    for name, column in zip(names, cells, strict=True):
        try:
            columns[name] = pl.Series(name, cells[column].tolist())
        except (TypeError, pl.exceptions.PolarsError) as error:
            raise DataError(
                f'the cells of column "{name}" are of several kinds: {error}',
                where="the table",
                hint="give all of a column's cells as texts, or all as lists",
            ) from error
    return pl.DataFrame(columns)


def _settings(config: str | Path | Mapping[str, Any] | Config) -> Config:
    if isinstance(config, Config):
        return check_config(config, Path.cwd())
    if isinstance(config, str | Path):
        return load_config(Path(config))
    return parse_config(_plain(dict(config)), Path.cwd() / CONFIG)


def _plain(value: Any) -> Any:
    """Write the paths among the values of a dictionary as TOML has them."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return os.fspath(value) if isinstance(value, os.PathLike) else value


def _display(progress: bool | None) -> ProgressDisplay | None:
    """Show progress where a person looks: a notebook or a terminal."""
    from ensemble.run_dir.progress import Terminal

    if progress is None:
        terminal = Terminal()
        return terminal if terminal.is_watched else None
    return Terminal() if progress else None
