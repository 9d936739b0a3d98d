"""The proof that a run is honest, from what is stored and nothing else.

Clusters and swaps are computed anew from the texts; the plan, the recorded training ids, the
predictions and the stack are held against them. It proves which rows were handed to ``fit``, and
cannot see what a plugin does on its own. It proves that files fit together, not who wrote them:
logits that are forged together with their hashes and manifests pass (``docs/concepts.md``).
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ensemble.artifacts import MANIFEST, fingerprint, hash_file, read_json
from ensemble.battles.prepare import read_battles
from ensemble.battles.split import read_split
from ensemble.config import load_run_config
from ensemble.delivery.audit_checks import (
    Check,
    Ledger,
    check_described,
    check_fold,
    check_plan,
    recomputed,
)
from ensemble.delivery.audit_pairs import check_pair_fits
from ensemble.delivery.audit_stack import check_stack, stacked_learners
from ensemble.errors import ArtifactError
from ensemble.oof.store import FoldStore

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

VERSION = 5
"""Raise it when the audit comes to check something else: an audit of before is none."""


@dataclass(frozen=True)
class Audit:
    """All checks of a run.

    Parameters
    ----------
    checks
        One a rule and object.
    unknown
        Learners whose training rows nobody recorded: they are neither honest nor dishonest.
    missing
        Learner folds that are not there, and so not measured.
    subject
        Names what was audited, so that a later change is not taken for audited.
    """

    checks: tuple[Check, ...]
    unknown: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    subject: str = ""

    @property
    def ok(self) -> bool:
        """Whether every check holds; says nothing of what is ``missing``."""
        return all(check.ok for check in self.checks)

    @property
    def complete(self) -> bool:
        """Whether all that a run has was there to be checked."""
        return not self.missing

    @property
    def sentence(self) -> str:
        """The outcome for a reader."""
        failed = [check for check in self.checks if not check.ok]
        text = (
            f"{len(self.checks)} checks hold"
            if self.ok
            else f"{len(failed)} of {len(self.checks)} checks fail: "
            + "; ".join(f"{check.name}: {check.detail}" for check in failed)
        )
        if self.unknown:
            text += f"; training rows unknown for {', '.join(self.unknown)}"
        if self.missing:
            text += f"; the run is not complete, not measured: {', '.join(self.missing)}"
        return text

    def to_json(self) -> dict[str, Any]:
        """Give the JSON object of ``audit.json``."""
        return {
            "ok": self.ok,
            "complete": self.complete,
            "sentence": self.sentence,
            "checks": [check.to_json() for check in self.checks],
            "unknown": list(self.unknown),
            "missing": list(self.missing),
            "subject": self.subject,
        }


def audit_run(run: Path) -> Audit:
    """Prove the honesty rules of a run.

    Parameters
    ----------
    run
        The run directory.

    Returns
    -------
    Audit
        What holds, what does not with the offending ids, and what was not measured.

    Raises
    ------
    ArtifactError
        Battles or fold plan are missing or damaged, so that nothing can be proved.
    ConfigError
        The run's config cannot be read.
    """
    config = load_run_config(run)
    battles, data = read_battles(run)
    plan = read_split(run)
    # What the config says is what the reader believes: not what a plan says of itself.
    threshold = config.folds.near_duplicate_threshold
    truth = recomputed(battles, plan, threshold)
    store = FoldStore(run, plan.fingerprint, data, plan.n_splits)
    ledger = Ledger()
    check_described(config, data, ledger)
    check_plan(truth, plan.n_splits, threshold, ledger)
    # A learner that was taken out of the config may still be in the stack.
    names = [*(learner.name for learner in config.learners), *stacked_learners(run)]
    for name in dict.fromkeys(names):
        for fold in [*range(plan.n_splits), *([None] if config.wants_refit() else [])]:
            with _readable(f"{name} {'refit' if fold is None else f'fold {fold}'}", ledger):
                check_fold(store, name, fold, truth, ledger)
    with _readable("pairs of folds", ledger):
        check_pair_fits(store, config, truth, ledger)
    with _readable("stack", ledger):
        check_stack(store, [learner.name for learner in config.stacked_learners()], truth, ledger)
    return Audit(
        tuple(ledger.checks), tuple(ledger.unknown), tuple(ledger.missing), subject_of(run)
    )


@contextmanager
def _readable(name: str, ledger: Ledger) -> Iterator[None]:
    """Note a manifest that says something else than it should as a failed check, and go on."""
    try:
        yield
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        what = f"the manifest cannot be read: {type(error).__name__}: {error}"
        ledger.fail(f"{name}: what is stored can be trusted", what)


def stored_audit(run: Path) -> Audit | None:
    """Read back an audit that holds and is of what is there now; None asks for a new one."""
    try:
        stored = read_json(run / "audit.json")
        checks = tuple(Check(**{**item, "ids": tuple(item["ids"])}) for item in stored["checks"])
        audit = Audit(checks, tuple(stored["unknown"]), tuple(stored["missing"]), stored["subject"])
    except (ArtifactError, KeyError, TypeError):
        return None
    current = bool(checks) and audit.ok and audit.subject == subject_of(run)
    return audit if current else None


def subject_of(run: Path) -> str:
    """Name all that an audit looks at, and the audit itself: 64 hex digits."""
    names = ("config.toml", "battles.json", "folds.json")
    manifests = [*run.glob(f"learners/*/*/{MANIFEST}"), run / "stack" / MANIFEST]
    paths = [*(run / name for name in names), *sorted(manifests)]
    hashes = {p.relative_to(run).as_posix(): hash_file(p) for p in paths if p.is_file()}
    return fingerprint({"version": VERSION, "files": hashes})
