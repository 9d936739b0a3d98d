"""The whole way, top to bottom: prepare, split, fit, stack, predict, audit, report.

The only file that knows the order. Each stage reads the files that the one before wrote and does
nothing where its own are there already, so that running the same config again resumes the run.
"""

from __future__ import annotations

from contextlib import contextmanager, suppress
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from filelock import FileLock, Timeout

from ensemble.audit.audit import Audit, audit_run, store_audit, stored_audit
from ensemble.audit.deep import DEEP_ROWS, audit_deep
from ensemble.battles.held_out import REFIT, HeldOut, fold_pairs
from ensemble.battles.prepare import prepare, read_summary
from ensemble.battles.schema import probability_frame
from ensemble.battles.split import read_split_summary, split
from ensemble.battles.staleness import check_sources
from ensemble.compare.compare import compare, store_comparison
from ensemble.config.load import load_config, load_run_config, write_config
from ensemble.config.settings import Config
from ensemble.errors import ArtifactError, AuditError, ConfigError, EnsembleError, RunLockedError
from ensemble.once import one_verb
from ensemble.oof.check import PREFLIGHT, Finding, check_learner
from ensemble.oof.checkpoints import sweep_checkpoints
from ensemble.oof.executors import execute
from ensemble.oof.refits import Decisions, made_again, refuse_undecided, told_again
from ensemble.oof.workspace import open_workspace
from ensemble.report.record import is_current_report, record_report
from ensemble.report.write import REPORT, write_report
from ensemble.reporter import EVENTS, Reporter
from ensemble.sources.settings import StudySettings
from ensemble.sources.study import study_sources
from ensemble.stacking.assemble import check_folds, check_pairs, meta_features
from ensemble.stacking.build import make_stack
from ensemble.stacking.calls import predict_checked
from ensemble.stacking.doubt import outside_learners
from ensemble.stacking.preflight import faults_of, refuse_faults, stack_faults
from ensemble.stacking.remember import open_tries, record_learners
from ensemble.stacking.settings import (
    check_plugins,
    learner_specs,
    meta_learner_factory,
    nested_specs,
    pair_specs,
    stack_key_parts,
    stacked_specs,
)
from ensemble.stacking.stack import load_stack
from ensemble.storage.directories import read_manifest
from ensemble.storage.hashing import fingerprint
from ensemble.storage.json_files import read_json
from ensemble.storage.leftovers import sweep_temporary
from ensemble.storage.strays import is_stray
from ensemble.submission.record import (
    is_current,
    record_submission,
    remove_submission,
)
from ensemble.submission.write import write_submission

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ensemble.oof.spec import LearnerSpec
    from ensemble.oof.workspace import Workspace
    from ensemble.plugin.base import FloatArray
    from ensemble.reporter import Display
    from ensemble.sources.study import SourceStudy

    Fit = tuple[LearnerSpec, HeldOut]


_MARKS_OF_A_RUN = {EVENTS, "battles.json", "folds.json", "learners"}
"""Files of which a run has one at least, however early it ended or however it was copied."""


def run(
    config: Config | str | Path,
    display: Display | None = None,
    *,
    refit: Sequence[str] = (),
    keep: Sequence[str] = (),
) -> Path:
    """Do all of it: from the sources to submission and report.

    Parameters
    ----------
    config
        A config, or the path of one.
    display
        Where a person watches; None shows nothing.
    refit, keep
        Learners whose fits, where other code of their plugin has made them, are made anew or kept.

    Returns
    -------
    Path
        The run directory.

    Raises
    ------
    EnsembleError
        What went wrong, where, and how to mend it. Everything complete by then is kept.
    """
    config = config if isinstance(config, Config) else load_config(Path(config))
    decided = Decisions(tuple(refit), tuple(keep))
    decided.check(config)
    with working(config, display) as reporter:
        prepare_stage(config, reporter)
        split_stage(config, reporter)
        fit_stage(config, reporter, decided=decided)
        stack_stage(config, reporter)
        predict_stage(config, reporter)
        audit_stage(config, reporter)
        if not keep_report(config, reporter):
            report_stage(config, reporter)
    return Path(config.run_dir)


@contextmanager
def working(config: Config, display: Display | None = None) -> Iterator[Reporter]:
    """Hold the run directory to do what the config says: its plugins are checked first.

    Raises
    ------
    ConfigError
        Faults of plugins, all of them reported together.
    RunLockedError
        Another process writes to the run.
    """
    with one_verb():
        check_plugins(config)
        with writing(config, display) as reporter:
            yield reporter


@contextmanager
def writing(config: Config, display: Display | None = None) -> Iterator[Reporter]:
    """Hold the run directory for one writer; the lock ends with the process, however it ends.

    Parameters
    ----------
    config
        The config.
    display
        Where a person watches.

    Raises
    ------
    RunLockedError
        Another process writes to the run.
    """
    directory = Path(config.run_dir)
    _refuse_strangers(directory)
    lock = FileLock(directory / ".lock", timeout=0)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout as error:
        raise RunLockedError(
            "another process writes to this run",
            where=str(directory),
            mend="wait for it, or give this run another run_dir",
        ) from error
    except OSError as error:
        raise EnsembleError(
            f"the run directory cannot be written: {error.strerror or error}", where=str(directory)
        ) from error
    try:
        sweep_temporary(directory)
        sweep_checkpoints(directory)
        yield Reporter(directory, display)
    finally:
        lock.release()


def _refuse_strangers(directory: Path) -> None:
    """Refuse a directory with files of somebody else: those of a run would take their names.

    Raises
    ------
    ConfigError
        It is not empty and no run.
    """
    try:
        names = {path.name for path in directory.iterdir() if not path.name.startswith(".")}
        names = {name for name in names if not is_stray(name)}
    except OSError:
        return  # it is not there, or whoever makes it says why not
    if names and not names & _MARKS_OF_A_RUN:
        raise ConfigError(
            f"the run directory is no run and not empty: it holds {', '.join(sorted(names)[:5])}",
            where=str(directory),
            mend="give a directory that is empty or not there as run_dir",
        )


def prepare_stage(config: Config, reporter: Reporter) -> dict[str, Any]:
    """Turn sources into ``battles.parquet`` and clusters."""
    with reporter.stage("prepare"):
        made = prepare(config, partial(_say_again, reporter, "battles and clusters"))
        _record(config)
        summary = read_summary(Path(config.run_dir))
        for source in summary["sources"]:
            dropped = source["dropped_rows"]
            reporter.event("source", name=source["name"], rows=source["rows"], dropped=dropped)
            note = f", {dropped:,} rows dropped" if dropped else ""
            reporter.say(f"{source['name']}  {source['rows']:,} battles ({source['role']}){note}")
            if dropped:
                _say_dropped(source, reporter)
            for warning in source["warnings"]:
                reporter.event("warning", text=warning)
                reporter.say(f"warning: {warning}")
        for name, use in config.source_uses().items():
            if use.role == "pseudo":
                reporter.event("pseudo-labels", source=name, teachers=list(use.teachers))
                who = ", ".join(use.teachers)
                reporter.say(f"{name}  labelled by {who}; labels in its file are not read")
    if vectors := summary["embeddings"]:
        reporter.event("vectors", **{k: v for k, v in vectors.items() if k not in ("path",)})
        reporter.say(
            f"vectors  {vectors['with_vector']:,} battles have one, {vectors['without_vector']:,} "
            f"have none, {vectors['unknown_ids']:,} ids are of no battle; "
            f"{vectors['pairs']:,} pairs of paraphrases join clusters"
        )
    reporter.say("battles and clusters  " + _made_or_kept(made))
    return summary


def _say_dropped(source: dict[str, Any], reporter: Reporter) -> None:
    """Say why rows were left out, and what became of the label shares."""
    for kind, count in source["dropped_for"].items():
        reporter.say(f"  {count:,} dropped: {kind}")
    before, after = source["label_shares_before"], source["label_shares"]
    if before is not None and None not in after:
        told = [", ".join(f"{share:.1%}" for share in shares) for shares in (before, after)]
        reporter.say(f"  A, B, tie: {told[0]} with them, {told[1]} without")


def split_stage(config: Config, reporter: Reporter) -> dict[str, Any]:
    """Turn battles into ``folds.parquet``."""
    directory = Path(config.run_dir)
    with reporter.stage("split"):
        _check_and_record(config)
        made = split(
            directory,
            n_splits=config.folds.n_splits,
            seed=config.seed,
            tell=partial(_say_again, reporter, "fold plan"),
        )
        summary = read_split_summary(directory)
        overlap = summary["test_overlap"]
        if overlap["test_rows"]:
            text = (
                f"{overlap['test_rows']:,} of {overlap['of']:,} test rows have a labeled relative"
            )
            reporter.event("test overlap", **overlap)
            reporter.say(f"{text}: scores on these flatter")
        for warning in summary["warnings"]:
            reporter.event("warning", text=warning)
            reporter.say(f"warning: {warning}")
    reporter.say("fold plan  " + _made_or_kept(made))
    return summary


def fit_stage(
    config: Config,
    reporter: Reporter,
    learners: Sequence[str] | None = None,
    folds: Sequence[int] | None = None,
    decided: Decisions = Decisions(),  # noqa: B008 - frozen
) -> dict[str, Any]:
    """Fit learner by fold, and store OOF and test logits.

    Parameters
    ----------
    config
        The config.
    reporter
        Told of each fold.
    learners
        Names of the learners to fit; None fits all.
    folds
        Folds to fit; None fits all, the refit where the config wants it, and after them what the
        config wants to be fitted without each pair of folds.
    decided
        What becomes of fits that other code has made.

    Returns
    -------
    dict[str, Any]
        How many folds were ``fitted`` and how many ``kept``; the same of ``pairs``, where there are
        any.

    Raises
    ------
    ConfigError
        No learner is called so, or there is no such fold; or nobody has decided what becomes of
        dear fits that other code has made; or something is known to fail before anything is
        fitted: all faults are reported together.
    """
    decided.check(config)
    specs = _chosen_specs(config, learners)
    foreign = sorted(set(folds or ()) - set(range(config.folds.n_splits)))
    if foreign:
        raise ConfigError(
            f"there is no fold {foreign[0]}: folds are 0 to {config.folds.n_splits - 1}"
        )
    with reporter.stage("fit"):
        _check_and_record(config)
        _warn_of_unused_pretraining(config, specs, reporter)
        decided.remember(
            open_workspace(config),
            lambda: [*chain(*_tasks(config, _chosen_specs(config, learners), folds))],
        )
        specs = _chosen_specs(config, learners)  # which know now what is kept
        tasks, pairs = _tasks(config, specs, folds)
        _say_again_fits(config, [*tasks, *pairs], decided, reporter)
        refuse_faults(config, open_workspace(config), [*tasks, *pairs])
        outcome: dict[str, Any] = _counts(execute(config, tasks, reporter), len(tasks))
        reporter.say(f"folds  {outcome['fitted']} fitted, {outcome['kept']} kept")
        for doubt in record_learners(open_workspace(config), specs):
            reporter.event("warning", text=doubt)
            reporter.say(f"warning: {doubt}")
        if pairs:
            found = outcome["pairs"] = _counts(execute(config, pairs, reporter), len(pairs))
            reporter.say(f"pairs of folds  {found['fitted']} fitted, {found['kept']} kept")
    return outcome


def _tasks(
    config: Config, specs: Sequence[LearnerSpec], folds: Sequence[int] | None
) -> tuple[list[Fit], list[Fit]]:
    """List the folds to fit, with refits, and the pairs of folds: none where folds are named."""
    if folds is not None:
        return [(spec, HeldOut.of(fold)) for spec in specs for fold in folds], []
    every = [HeldOut.of(fold) for fold in range(config.folds.n_splits)]
    chosen = [*every, *([REFIT] if config.wants_refit() else [])]
    names = {spec.name for spec in specs}
    nested = [spec for spec in pair_specs(config) if spec.name in names]
    pairs = fold_pairs(len(every))
    return (
        [(spec, held_out) for spec in specs for held_out in chosen],
        [(spec, pair) for spec in nested for pair in pairs],
    )


def _say_again_fits(
    config: Config, tasks: Sequence[Fit], decided: Decisions, reporter: Reporter
) -> None:
    """Say which fits are made anew and why, unless it has to be decided first whether."""
    again = list(made_again(open_workspace(config), tasks))
    refuse_undecided(again, decided.refit)
    for line in told_again(again):
        reporter.event("made again", what=line)
        reporter.say(f"made again: {line}")


def _say_again(reporter: Reporter, what: str, why: str) -> None:
    reporter.event("made again", what=what, why=why)
    reporter.say(f"{what}  made again: {why}")


def _counts(fitted: int, tasks: int) -> dict[str, int]:
    return {"fitted": fitted, "kept": tasks - fitted}


def check_stage(
    config: Config, reporter: Reporter, learners: Sequence[str] | None = None, rows: int = 6
) -> list[Finding]:
    """Check learners on a few battles; nothing but battles and plan is written.

    Parameters
    ----------
    config
        The config.
    reporter
        Told of each finding.
    learners
        Names of the learners to check; None checks all.
    rows
        Battles of each check.

    Raises
    ------
    ConfigError
        No learner is called so.
    """
    specs = _chosen_specs(config, learners)
    prepare_stage(config, reporter)
    split_stage(config, reporter)
    workspace, found = open_workspace(config), []
    with reporter.stage("check"):
        for finding in _findings(config, workspace, specs, rows):
            found.append(finding)
            reporter.event("check", **finding.to_json())
    return found


def _findings(
    config: Config, workspace: Workspace, specs: Sequence[LearnerSpec], rows: int
) -> Iterator[Finding]:
    for spec in specs:
        faults = faults_of(workspace, spec)
        yield Finding(spec.name, PREFLIGHT, not faults, "\n".join(faults))
        if not faults:
            yield from check_learner(workspace, spec, rows)
    faults = stack_faults(config, workspace)
    if config.stack.features:
        yield Finding("stack", PREFLIGHT, not faults, "\n".join(faults))


def _chosen_specs(config: Config, learners: Sequence[str] | None) -> list[LearnerSpec]:
    wanted = [config.learner(name).name for name in learners] if learners else None
    return [spec for spec in learner_specs(config) if wanted is None or spec.name in wanted]


def _warn_of_unused_pretraining(
    config: Config, specs: Sequence[LearnerSpec], reporter: Reporter
) -> None:
    """Say which learners have no use for the rows that are for pre-training."""
    sources = [source.name for source in config.sources if source.role == "pretrain"]
    without = [spec.name for spec in specs if not hasattr(spec.prototype, "pretrain")]
    if sources and without:
        text = (
            f"{', '.join(without)} cannot pre-train: the rows of {', '.join(sources)} "
            'are not used by them (role = "train" would mix them in)'
        )
        reporter.event("warning", text=text)
        reporter.say(f"warning: {text}")


def stack_stage(config: Config, reporter: Reporter) -> dict[str, Any]:
    """Turn OOF logits into candidates and a verdict."""
    specs = stacked_specs(config)
    _check_and_record(config)
    workspace = open_workspace(config)
    manifest = _stack_manifest(config, workspace, specs)
    directory = workspace.run / "stack"
    why = _why_stacked_again(directory, manifest)
    if why is not None:
        if why:
            _say_again(reporter, "stack", why)
        with reporter.stage("stack"), reporter.bar("stack") as progress:
            tries = open_tries(workspace)
            make_stack(config, workspace, directory, manifest, tries=tries, progress=progress)
    verdict = dict(read_json(directory / "verdict.json"))
    reporter.event("verdict", chosen=verdict["chosen"], rule=verdict["rule"])
    reporter.say(verdict["sentence"])
    return verdict


def predict_stage(config: Config, reporter: Reporter) -> Path | None:
    """Turn test logits into ``submission.csv``; nothing where there is no test file."""
    check_sources(config)
    workspace = open_workspace(config)
    submission = workspace.run / "submission.csv"
    if config.test is None:
        remove_submission(workspace.run)
        reporter.say("no [test] in the config: no submission")
        return None
    _check_stack(config, workspace)
    test = workspace.test_rows()
    if not config.wants_refit() and is_current(workspace.run, config):
        reporter.say(f"submission  {submission} (kept)")
        return submission
    with reporter.stage("predict"):
        used = _test_probabilities(config, workspace, config.predict.models)
        if config.wants_refit():
            other = "folds" if config.predict.models == "refit" else "refit"
            gap = float(np.abs(used - _test_probabilities(config, workspace, other)).mean())
            reporter.event("folds against refit", mean_absolute_difference=gap)
        write_submission(submission, probability_frame(test["id"], used), test["id"].to_list())
        record_submission(workspace.run, config)
    reporter.say(f"submission  {submission} ({len(test):,} rows)")
    return submission


def _test_probabilities(config: Config, workspace: Workspace, models: str) -> FloatArray:
    """Combine the stored test logits of the folds' models, or of the refits."""
    specs = stacked_specs(config)
    check_folds(workspace, specs, models)
    test, names = workspace.test_rows(), [spec.name for spec in specs]
    logits = [workspace.store.test_logits(name, models, test["id"]) for name in names]
    cache = workspace.run / "cache" / "stack"
    meta = meta_features(test, names, logits, config.stack.features, cache)
    chosen = load_stack(workspace.run / "stack", meta_learner_factory(config))
    return predict_checked(chosen, meta, "the stack, on the test rows")


def audit_stage(config: Config, reporter: Reporter) -> Audit:
    """Prove the honesty rules from what is stored, before anything is reported.

    Raises
    ------
    AuditError
        A rule does not hold; the report shows which, and ``audit.json`` the offending ids.
    """
    directory = Path(config.run_dir)
    with reporter.stage("audit"):
        result = stored_audit(directory) or audit_run(directory)
        store_audit(directory, result)
    if not result.ok:
        report_stage(config, reporter)
        raise AuditError(
            result.sentence, where=str(directory), mend="see the report, and audit.json for ids"
        )
    reporter.say(f"audit  {result.sentence}")
    return result


def prove_stage(
    run: Path, *, deep: bool = False, rows: int = DEEP_ROWS
) -> tuple[Audit, Path | None, str | None]:
    """Audit a run anew, keep the result whatever it is, and write the report that shows it.

    Parameters
    ----------
    run
        The run directory.
    deep
        Ask stored models again for a sample of what is stored of their predictions.
    rows
        How many held-out, and test, rows of each fit such a sample takes.

    Returns
    -------
    tuple
        The audit; the report, or None with why it could not be written: another process writes to
        the run, say, which keeps nobody from auditing.

    Raises
    ------
    ArtifactError
        Battles or plan are damaged, so that nothing can be proved; the report says so then.
    """
    try:
        result = audit_deep(run, rows) if deep else audit_run(run)
    except ArtifactError:
        # Nothing can be proved; a former report must not go on to say otherwise.
        with suppress(EnsembleError), writing(load_run_config(run)):
            write_report(run)
        raise
    try:
        with writing(load_run_config(run)) as reporter:
            store_audit(run, result)
            reporter.event("audit", state=result.state, deep=deep)
            return result, write_report(run), None
    except EnsembleError as error:
        return result, None, error.message


def compare_stage(
    run: Path, names: Sequence[str], by: Sequence[str] = ()
) -> tuple[dict[str, Any], Path | None, str | None]:
    """Compare learners of a run, and keep the result for the report.

    Returns
    -------
    tuple
        The comparison, and where it is stored, or None with why it is not: another process writes
        to the run, say, or the run cannot be written, which keep nobody from comparing.
    """
    result = compare(run, names, by)
    try:
        with writing(load_run_config(run)):
            return result, store_comparison(run, result), None
    except EnsembleError as error:
        return result, None, error.message


def report_stage(config: Config, reporter: Reporter) -> Path:
    """Turn all that is there into ``report.html``."""
    with reporter.stage("report"):
        path = write_report(Path(config.run_dir))
        record_report(Path(config.run_dir))
    reporter.say(f"report  {path}")
    return path


def keep_report(config: Config, reporter: Reporter) -> bool:
    """Say whether the report is of what is there now, so that it need not be written anew."""
    kept = is_current_report(Path(config.run_dir))
    if kept:
        reporter.say(f"report  {Path(config.run_dir) / REPORT} (kept)")
    return kept


def sources_stage(
    config: Config,
    reporter: Reporter,
    settings: StudySettings = StudySettings(),  # noqa: B008 - frozen
) -> list[SourceStudy]:
    """Say of every source whether it helps; no part of a run, which it leaves as it is.

    Prepares and splits where that has not been done.
    """
    prepare_stage(config, reporter)
    split_stage(config, reporter)
    with reporter.stage("sources"):
        return study_sources(config, reporter, settings)


def _check_and_record(config: Config) -> None:
    """See that the prepared battles are the config's before it takes its place beside them."""
    check_sources(config)
    _record(config)


def _record(config: Config) -> None:
    """Write the config as resolved into the run: it says what the run is made from."""
    write_config(config, Path(config.run_dir) / "config.toml")


def _stack_manifest(
    config: Config, workspace: Workspace, specs: Sequence[LearnerSpec]
) -> dict[str, Any]:
    """Say what the stack is made from: keys and logits of all folds and pairs, its settings."""
    parts = {
        "folds": check_folds(workspace, specs),
        "pairs": check_pairs(workspace, nested_specs(config)),
        **stack_key_parts(config),
    }
    return {
        "key": fingerprint(parts),
        "key_parts": parts,
        "plan": workspace.plan.fingerprint,
        "data": workspace.data_key,
        "learners": [spec.name for spec in specs],
        "unproven": outside_learners(specs),
    }


def _check_stack(config: Config, workspace: Workspace) -> None:
    manifest = _stack_manifest(config, workspace, stacked_specs(config))
    if _stored_key(workspace.run / "stack") != manifest["key"]:
        raise ArtifactError(
            "the stack is missing or was made with other settings",
            where=str(workspace.run / "stack"),
            mend="run `ensemble stack CONFIG`",
        )


def _why_stacked_again(directory: Path, manifest: dict[str, Any]) -> str | None:
    """Say why the stack is made anew: None where it is there, empty where there was none."""
    if not directory.exists():
        return ""
    try:
        stored = read_manifest(directory)
    except ArtifactError as error:
        return f"{error.message} ({error.where})"
    if stored.get("key") == manifest["key"]:
        return None
    before, now = stored["key_parts"], manifest["key_parts"]
    return f"other {', '.join(name for name in now if before.get(name) != now[name])}"


def _stored_key(directory: Path) -> str | None:
    try:
        return str(read_manifest(directory).get("key"))
    except ArtifactError:
        return None


def _made_or_kept(made: bool) -> str:
    return "made" if made else "kept"
