"""The cluster that fits go to: one that is there, or one of this machine alone.

Ray carries what it is given by pickle, so whoever reaches a cluster can run code on it. One that is
started here is reached from this machine alone, asks for a token, has no dashboard, tells nobody
that it is used, and ends with the fits.
"""

from __future__ import annotations

import logging
import os
import secrets
import sys
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ensemble.errors import ConfigError, EnsembleError
from ensemble.interrupts import keeping_handlers, uninterrupted
from ensemble.processes import available_cores
from ensemble.storage.owned import OwnedPlace

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ensemble.config.settings import Execution
    from ensemble.run_dir.reporter import Reporter

_QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}
_LOOPBACK = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
"""As on systems where Ray has no clusters: it then listens on the loopback address alone."""
_MODE, _TOKEN = "RAY_AUTH_MODE", "RAY_AUTH_TOKEN"


class _Own:
    """What this process has told Ray, which remembers it for as long as the process lasts."""

    token: str | None = None
    connection: Connection | None = None


class Connection:
    """A cluster that is joined when it is first asked for.

    Parameters
    ----------
    execution
        Names its address; None is a cluster of this machine's own.
    reporter
        Told of it; None tells nobody.
    """

    def __init__(self, execution: Execution, reporter: Reporter | None) -> None:
        self.execution, self._reporter = execution, reporter
        self._ray: Any = None
        self._is_ours = False
        self._before: dict[str, str | None] = {}
        self._place: OwnedPlace | None = None

    def ray(self) -> Any:
        """Give Ray, connected.

        Raises
        ------
        ConfigError
            Ray is not installed, or the address is of a kind that does not serve.
        EnsembleError
            The cluster cannot be reached or started.
        """
        if self._ray is None:
            with keeping_handlers():  # Ray takes SIGTERM
                self._ray = self._join()
        return self._ray

    def nodes(self) -> list[dict[str, Any]]:
        """Give the nodes that are there, as Ray describes them; errors as ``ray``."""
        return [node for node in self.ray().nodes() if node["Alive"]]

    def leave(self) -> None:
        """Leave the cluster; one of our own ends."""
        if self._ray is not None and self._is_ours:
            with suppress(Exception), uninterrupted():  # it may be gone already
                self._ray.shutdown()
        self._ray = None
        for name, value in self._before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        self._before.clear()
        if self._place is not None:
            self._place.remove()

    def _join(self) -> Any:
        address = self.execution.address
        _refuse_client(address)
        self._set(_QUIET)
        if address is None:
            self._set(_LOOPBACK)
            self._set(_own_token())
        try:
            import ray
        except ImportError as error:
            raise ConfigError(
                'executor = "ray" needs Ray, which is not installed',
                hint="in a clone of the repository: pip install -c constraints.txt '.[ray]'",
            ) from error
        if ray.is_initialized():
            return ray  # whoever started it ends it
        options = self._local_options(ray) if address is None else {"address": address}
        try:
            ray.init(
                log_to_driver=False, logging_level=logging.ERROR, configure_logging=False, **options
            )
        except Exception as error:
            with suppress(Exception):  # what has been started of it
                ray.shutdown()
            raise _unreachable(address, error) from error
        self._is_ours = True
        self._tell(ray, address)
        return ray

    def _local_options(self, ray: Any) -> dict[str, Any]:
        # A package that was imported before has read the variables: then what it is bound to is
        # set where it keeps it.
        ray._private.ray_constants.ENABLE_RAY_CLUSTER = False
        # Sockets need short paths.
        base = Path("/tmp") if Path("/tmp").is_dir() else Path(tempfile.gettempdir())  # noqa: S108
        self._place = OwnedPlace("ray-", base)
        return {
            "address": "local",
            "num_cpus": available_cores(),
            "include_dashboard": False,
            "_node_ip_address": "127.0.0.1",
            "_temp_dir": str(self._place.path),
        }

    def _tell(self, ray: Any, address: str | None) -> None:
        if self._reporter is None:
            return
        nodes = [node for node in ray.nodes() if node["Alive"]]
        cpus = sum(node["Resources"].get("CPU", 0) for node in nodes)
        gpus = sum(node["Resources"].get("GPU", 0) for node in nodes)
        self._reporter.event("cluster joined", nodes=len(nodes), cpus=cpus, gpus=gpus)
        if address is not None and os.environ.get(_MODE) != "token":
            self._reporter.warn(
                "the cluster is joined without token authentication: whoever reaches it can run "
                "code there (start it with RAY_AUTH_MODE=token, and set that here)"
            )

    def _set(self, variables: dict[str, str]) -> None:
        for name, value in variables.items():
            self._before.setdefault(name, os.environ.get(name))
            os.environ[name] = value


def _own_token() -> dict[str, str]:
    """Give the variables by which a cluster asks for a token, one for the whole process.

    They are the user's where the user has set them. Where Ray was imported before, it has read what
    there was, and asks for a token of its own.
    """
    if _Own.token is None and (_MODE in os.environ or "ray" in sys.modules):
        return {}
    _Own.token = _Own.token or secrets.token_hex(32)
    return {_MODE: "token", _TOKEN: _Own.token}


@contextmanager
def connection(execution: Execution, reporter: Reporter | None) -> Iterator[Connection]:
    """Give a cluster that is joined when it is asked for, and left at the end.

    Within another of the same settings it is that one: to start a cluster takes seconds.
    """
    outer = _Own.connection
    if outer is not None and outer.execution == execution:
        yield outer
        return
    found = _Own.connection = Connection(execution, reporter)
    try:
        yield found
    finally:
        _Own.connection = outer
        found.leave()


def _refuse_client(address: str | None) -> None:
    if address is not None and "://" in address:
        raise ConfigError(
            "a cluster is joined from one of its nodes, not by a client's address",
            where="[execution], address",
            hint='run this on a node, with address = "auto" or "HOST:6379"',
        )


def _unreachable(address: str | None, error: Exception) -> EnsembleError:
    what = "a Ray cluster could not be started" if address is None else "no cluster was joined"
    told = str(error).strip().splitlines() or [type(error).__name__]
    return EnsembleError(
        f"{what}: {told[0]:.300}",
        where=f"[execution], address = {address!r}" if address else "[execution]",
        hint="see that `ray status` answers on this machine" if address else None,
    )
