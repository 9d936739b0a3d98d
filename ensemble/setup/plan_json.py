"""A plan as JSON, for ``ensemble init --json``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ensemble.setup.advice import Advice
    from ensemble.setup.plan import Plan
    from ensemble.setup.sources import NamedSource


def plan_json(plan: Plan) -> dict[str, Any]:
    """Give as JSON what a config was made from: files, learners, what is left to decide."""
    return {
        "sources": [_source(one) for one in plan.sources],
        "sample_submissions": [
            {"path": one.look.table.named, "form": one.form, "why": one.why}
            for one in plan.rows.samples
        ],
        "ties": plan.ties,
        "machine": plan.machine,
        "learners": [_learner(one) for one in plan.learners],
        "left_out": [{"path": one.path, "reason": one.reason} for one in plan.left],
        "todo": list(plan.todo),
        "notes": list(plan.notes),
    }


def _source(one: NamedSource) -> dict[str, Any]:
    look, facts = one.placed.look, one.placed.look.facts
    told: dict[str, Any] = {
        "name": one.name,
        "files": [str(file) for file in look.table.files],
        "role": one.placed.role,
        "why": one.placed.why,
        "read_as": look.read_as,
        "settings": dict(look.settings),
        "is_used": not one.is_comment,
    }
    if facts is not None:
        told |= {
            "rows": facts.rows,
            "label_shares": None if facts.shares is None else list(facts.shares),
            "turns": facts.turns,
            "characters": list(facts.characters),
            "tokens": [facts.token_quantile(0.5), facts.token_quantile(0.95)],
            "languages": facts.languages,
        }
    return told


def _learner(one: Advice) -> dict[str, Any]:
    said = one.suggestion
    return {
        "name": one.name,
        "plugin": one.plugin,
        "is_used": one.fits,
        "reason": said.unfit,
        "minutes": said.minutes,
        "basis": said.basis,
        "parameters": {
            k: v if isinstance(v, bool | int | float) else str(v)
            for k, v in said.parameters.items()
        },
    }
