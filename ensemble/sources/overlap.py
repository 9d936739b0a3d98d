"""Rows of a source that say the same as rows of the target, the test set, other sources, itself.

From the verified pairs and clusters that ``prepare`` found; nothing is searched anew. Rows count as
linked directly or through other rows, as the fold plan has it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from ensemble.battles.partition import connect_rows
from ensemble.battles.schema import HOLDOUT_ROLE, TEST_ROLE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from ensemble.battles.fold_plan import FoldPlan
    from ensemble.plugin.base import IntArray

    Mask = NDArray[np.bool_]

_KINDS = {
    "same_prompt": ("same prompt", "same opening"),
    "near_prompt": (
        "same prompt",
        "same opening",
        "near prompt",
        "near opening",
        "same turn",
        "contained prompt",
        "prompt in response",
    ),
    "same_responses": (
        "same responses",
        "same response",
        "contained response",
        "response in prompt",
    ),
}
"""What is counted, and the links of which kinds make it: prompt level and response level."""


@dataclass(frozen=True)
class Links:
    """Which rows of a run belong together, by kind of link.

    Parameters
    ----------
    plan
        The fold plan.
    components
        For each name of ``_KINDS`` and for ``"any"`` (the plan's clusters) the component of each
        row of the plan.
    """

    plan: FoldPlan
    components: Mapping[str, IntArray]

    @classmethod
    def of(cls, plan: FoldPlan, pairs: pl.DataFrame) -> Links:
        """Connect rows by the pairs of each kind.

        Parameters
        ----------
        plan
            The fold plan.
        pairs
            ``id_a``, ``id_b``, ``kind``, as ``prepare`` wrote them.
        """
        components = {
            name: connect_rows(plan.frame["id"], pairs, kinds) for name, kinds in _KINDS.items()
        }
        return cls(plan, {**components, "any": plan.frame["cluster"].to_numpy()})


def overlap(links: Links, source: str) -> dict[str, Any]:
    """Count a source's rows that have their like elsewhere.

    Parameters
    ----------
    links
        Of the run.
    source
        Name of the source.

    Returns
    -------
    dict[str, Any]
        ``target``, ``test``, ``itself`` and, under ``sources``, each other source by name: rows of
        this source by kind of link ("near_prompt" holds "same_prompt"; "any" is what the fold plan
        goes by). Of ``itself`` it is the rows beyond the first of each group. None for a test set
        that is not there. ``cut``: rows that each fold leaves out for its held-out rows, and all
        of them together.
    """
    frame = links.plan.frame
    mine = (frame["source"] == source).to_numpy()
    test = (frame["role"] == TEST_ROLE).to_numpy()
    others = (
        frame.filter(~pl.col("role").is_in(["target", HOLDOUT_ROLE, TEST_ROLE]))["source"]
        .unique()
        .sort()
    )
    return {
        "target": _linked(links, mine, (frame["role"] == "target").to_numpy()),
        "test": _linked(links, mine, test) if test.any() else None,
        "itself": {name: _repeats(part[mine]) for name, part in links.components.items()},
        "sources": {
            name: _linked(links, mine, (frame["source"] == name).to_numpy())
            for name in others
            if name != source
        },
        "cut": _cut(links.plan, source),
    }


def _linked(links: Links, mine: Mask, others: Mask) -> dict[str, int]:
    return {
        name: int(np.isin(part[mine], part[others]).sum())
        for name, part in links.components.items()
    }


def _repeats(components: IntArray) -> int:
    return len(components) - len(np.unique(components))


def _cut(plan: FoldPlan, source: str) -> dict[str, Any]:
    """Count the rows that share a cluster with held-out rows, whatever the source's role is now.

    A cluster can lie in several blocks of time: its rows are then cut from each.
    """
    own = (plan.frame["source"] == source).to_numpy()
    cut = [own & plan.linked(plan.held_out(fold).to_numpy()) for fold in range(plan.n_splits)]
    return {
        "per_fold": [int(rows.sum()) for rows in cut],
        "rows": int(np.any(cut, axis=0).sum()),
    }
