"""A fit that is under way on a node, and what has come of it."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ensemble.oof.cluster.messages import Incoming

if TYPE_CHECKING:
    from collections.abc import Callable

    from ensemble.oof.cluster.jobs import Job


@dataclass(eq=False)
class Running:
    """A job that the cluster has: its messages, and what has come of it.

    Parameters
    ----------
    job, messages
        The job, and what its messages are asked for by.
    """

    job: Job
    messages: Any
    result: Incoming = field(init=False)
    """The fold, as it comes."""
    checkpoint: Incoming = field(init=False)
    """Its checkpoint, as it comes."""
    watched: ExitStack = field(default_factory=ExitStack)
    """Open while it is being fitted."""
    progress: Callable[..., None] | None = None
    """Told how far it is; None while it waits for its turn."""

    def __post_init__(self) -> None:
        self.result, self.checkpoint = Incoming(self.job.directory), Incoming(self.job.checkpoint)

    def abandon(self) -> None:
        """Take nothing more of it; a checkpoint that came whole stays."""
        self.watched.close()
        self.result.abandon()
        self.checkpoint.abandon()
