"""What the nodes of a cluster have, what they run, and how it is said that they failed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ensemble.errors import EnsembleError, LearnerError
from ensemble.oof.cluster.jobs import Need
from ensemble.oof.worker_process import rebuilt
from ensemble.oof.workers import Elsewhere

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    Node = Mapping[str, Any]
    """As Ray describes a node."""


def job_entry() -> Callable[..., Iterator[dict[str, Any]]]:
    """Make what Ray runs on a node: it says so where the toolkit is not there."""

    def fit(job: dict[str, Any], parts: dict[str, list[Any]]) -> Iterator[dict[str, Any]]:
        import socket

        try:
            from ensemble.oof.cluster.remote import run_job
        except ImportError as error:
            told = f"a node cannot import preference-ensemble: {error}"
            hint = "install the same version on every node of the cluster"
            where = f"node {socket.gethostname()}"
            failed = {"kind": "EnsembleError", "message": told, "where": where, "hint": hint}
            yield {"what": "failed", "error": {**failed, "traceback": ""}, "died": False}
            return
        import ray

        yield from run_job(job, parts, ray.get)

    # Ray carries what is of the main module by value: a node without the toolkit can run that.
    fit.__module__ = "__main__"
    return fit


def room_on(node: Node, need: Need) -> int:
    """Say how many fits that need so much a node has room for at a time."""
    resources = node["Resources"]
    shares = [resources.get("CPU", 0.0) / need.cpus]
    shares += [resources.get("GPU", 0.0) / need.gpus] if need.gpus else []
    shares += [resources.get("memory", 0.0) / need.memory] if need.memory else []
    return int(min(shares))


def most_on(node: Node) -> Need:
    """Say what a fit could need at most, to fit on a node."""
    has = node["Resources"]
    return Need(int(has.get("CPU", 0)), int(has.get("GPU", 0)), int(has.get("memory", 0)))


def too_large(need: Need, nodes: Sequence[Node], where: str) -> LearnerError:
    """Say that no node has what a fit needs, what they have, and how to mend it."""
    has = [most_on(node) for node in nodes]
    most = Need(*(max(values) for values in zip(*has, strict=True))) if has else Need(0, 0, 0)
    largest = max(has, key=lambda one: (one.gpus, one.memory, one.cpus), default=None)
    found = f"the largest of {len(nodes)} has {largest.told()}" if largest else "it has none"
    mends = ["add a node that has it"]
    mends += ["set fewer `threads` under [execution]"] if need.cpus > most.cpus else []
    mends += ['set `device = "cpu"` there'] if need.gpus and not most.gpus else []
    return LearnerError(
        f"no node of the cluster has what it needs: {need.told()}; {found}",
        where=where,
        hint=f"{', '.join(mends)}, or have the learner declare less in its `resources`; where "
        "nodes join later, set `wait_for_nodes` (seconds) under [execution]",
    )


def ask_for_nodes(needs: Sequence[Need]) -> None:
    """Ask a cluster that scales by itself for nodes that are large enough; any other ignores it."""
    from ray.autoscaler.sdk import request_resources

    bundles = [{"CPU": one.cpus, "GPU": one.gpus, "memory": one.memory} for one in needs]
    request_resources(bundles=[{name: n for name, n in one.items() if n} for one in bundles])


def why_ended(ray: Any, error: Exception) -> tuple[str, bool]:
    """Say why a job ended without a word, and whether its node was lost."""
    kinds = ray.exceptions
    first = (str(error).strip().splitlines() or [type(error).__name__])[0]
    if isinstance(error, kinds.OutOfMemoryError):
        return "the node ran out of memory, and Ray ended it", False
    if isinstance(error, kinds.WorkerCrashedError):
        return "Ray's worker process died", False
    if isinstance(error, kinds.RayTaskError):
        last = (str(error).strip().splitlines() or [first])[-1]
        return f"the node raised {last:.300}", False
    return f"its node was lost ({type(error).__name__})", True


def told_on_node(told: Mapping[str, Any]) -> EnsembleError:
    """Make the error that a node has told, with the traceback there."""
    error = rebuilt(dict(told))
    error.__cause__ = Elsewhere(told["traceback"]) if told["traceback"] else None
    return error


def disconnected(why: str) -> EnsembleError:
    """Say that the cluster is gone."""
    return EnsembleError(
        f"the connection to the cluster is lost: {why}",
        hint="run the same command again; complete folds and checkpoints are kept",
    )
