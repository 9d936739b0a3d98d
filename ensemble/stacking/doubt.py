"""Which scores rest on learners of which nobody knows what they have seen.

These bring predictions from outside, or doubt it themselves. Such a learner may have been trained
on the very rows that it is scored on. The doubt reaches every candidate that uses it, and so what
is chosen among them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ensemble.run_dir.stack_files import peek_manifest
from ensemble.stacking.candidates import simple_candidates
from ensemble.stacking.lacking import PLAIN, UNFINISHED
from ensemble.stacking.lacking import sentences as unfinished_sentences

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from ensemble.failure import Failure
    from ensemble.oof.spec import LearnerSpec
    from ensemble.oof.store import FoldStore

_LEAST_WEIGHT = 1e-9
"""What a solver leaves of a weight that is 0."""


def outside_learners(specs: Sequence[LearnerSpec]) -> list[str]:
    """Name the learners that bring their predictions from outside, in order."""
    return [spec.name for spec in specs if not type(spec.prototype).trains]


def unproven_learners(store: FoldStore, specs: Sequence[LearnerSpec]) -> list[str]:
    """Name the learners whose training rows nobody knows; their first fold is there."""
    return [
        spec.name
        for spec in specs
        if _first_manifest(store, spec.name)["training_rows"] != "recorded"
    ]


def _first_manifest(store: FoldStore, learner: str) -> dict[str, Any]:
    return peek_manifest(store.directory(learner, min(store.planned(learner))))


def doubted_candidates(
    descriptions: Mapping[str, Mapping[str, Any]], unproven: Sequence[str]
) -> dict[str, list[str]]:
    """Name the candidates that use unproven learners, and which ones each uses, in order.

    Parameters
    ----------
    descriptions
        What each candidate learned, by its name. A simple one says its weights, and is free of
        doubt where it gives unproven learners none; of a meta-learner nobody knows what it uses.
    unproven
        Learners of the stack whose training rows are unknown.
    """
    found = {name: _used(name, told, unproven) for name, told in descriptions.items()}
    return {name: used for name, used in found.items() if used}


def _used(name: str, description: Mapping[str, Any], learners: Sequence[str]) -> list[str]:
    weights = description.get("weights")
    simple = name in {candidate.name for candidate in simple_candidates(2)}
    if not simple or not isinstance(weights, dict):
        return list(learners)
    return [one for one in learners if abs(float(weights.get(one, 1.0))) > _LEAST_WEIGHT]


def doubt_sentence(unproven: Sequence[str], candidates: Collection[str]) -> str:
    """Say whom nobody can vouch for, and what is built on it; empty where there is nothing."""
    if not unproven:
        return ""
    several = len(unproven) > 1
    trained, scores, them = ("were", "their", "them") if several else ("was", "its", "it")
    built = f", nor for what is built on {them}: {', '.join(candidates)}" if candidates else ""
    return (
        f"Unproven: nobody knows which rows {', '.join(unproven)} {trained} trained on, so that "
        f"nothing vouches for {scores} scores{built}."
    )


def with_doubt(
    verdict: Mapping[str, Any],
    tables: Mapping[str, Any],
    unproven: Sequence[str],
    of_plan: str = "",
) -> dict[str, Any]:
    """Add to a verdict whom it cannot vouch for: ``unproven``, and a sentence of it.

    Parameters
    ----------
    verdict, tables
        The contents of ``verdict.json`` and ``candidates.json``.
    unproven
        Learners of the stack whose training rows are unknown.
    of_plan
        What of the fold plan leaves every score unproven, in a sentence.
    """
    told = {one["name"]: one.get("description", {}) for one in tables["candidates"]}
    doubted = doubted_candidates(told, unproven)
    sentence = " ".join(filter(None, (doubt_sentence(unproven, doubted), of_plan)))
    if of_plan:
        unproven = [one["name"] for one in tables["learners"]]
        doubted = {name: list(unproven) for name in told}
    added = {
        key: f"{verdict[key]} {sentence}".strip()
        for key in ("sentence", "evidence")
        if sentence and key in verdict
    }
    about: dict[str, Any] = {"learners": list(unproven), "candidates": doubted}
    about |= {"plan": of_plan} if of_plan else {}
    return {**verdict, **added, "unproven": about}


def with_gaps(
    verdict: Mapping[str, Any], manifest: Mapping[str, Any], failed: Sequence[Failure]
) -> dict[str, Any]:
    """Add to a verdict what it was made without: ``left_out``, ``failed``, and a sentence.

    Parameters
    ----------
    verdict
        The content of ``verdict.json``.
    manifest
        Of the stack: learners that it is made ``without``, and what it lacks of others.
    failed
        Meta-learners that failed.
    """
    left_out, lacking = list(manifest.get("left_out", ())), manifest.get(UNFINISHED, {})
    plain, reasons = manifest.get(PLAIN, ()), manifest.get("why_left_out", {})
    if not (left_out or failed or lacking or plain):
        return dict(verdict)
    broken = [name for name in left_out if name not in reasons]
    said = [f"Made without {', '.join(broken)}, which failed."] if broken else []
    said += unfinished_sentences(reasons, lacking, plain)
    said += [f"The meta-learner {one.name} failed: {one.sentence}." for one in failed]
    sentences = {key: " ".join([verdict[key], *said]) for key in ("sentence", "evidence")}
    told = {"left_out": left_out, "failed": [one.to_json() for one in failed]}
    more = {UNFINISHED: {name: list(fits) for name, fits in lacking.items()}} if lacking else {}
    return {**verdict, **sentences, **told, **more}
