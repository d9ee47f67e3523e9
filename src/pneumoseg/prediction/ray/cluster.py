"""Ray: whether it is there, the cluster it runs on, and how many workers fit.

A cluster of one's own listens on the loopback address alone, has no dashboard, reports nothing and
ends with the run. A cluster that runs already is given by its address and left as it was.
"""

from __future__ import annotations

import logging
import os
import socket
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from pneumoseg.errors import RuntimeUnavailableError, UsageError

OBJECT_STORE_BYTES = 128 << 20
"""Of a cluster of one's own: names go out and records come back, films stay in their worker."""
ANSWER_SECONDS = 5.0
"""Within which the head of a cluster answers."""
THREADS_OF_A_WORKER = 4
"""Where neither workers nor threads are asked for: more threads on one film pay less and less."""
STARTS = 2
"""Tries to start a cluster: a machine that is very busy can be too slow for Ray's own limits."""
AUTO = "auto"

_QUIET = {"RAY_USAGE_STATS_ENABLED": "0"}
_LOOPBACK = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
"""Ray's own switch for a machine alone: everything then listens on 127.0.0.1. It is read when ray
is imported, so it has no effect where another part of the process has done that."""
_HTTP2_HELLO = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
"""Preface and empty SETTINGS frame (RFC 9113 3.4): every gRPC server answers with its own."""


@dataclass(frozen=True)
class Request:
    """What a run wants of a cluster.

    Attributes:
        workers: how many hold the networks; None fills the cluster.
        threads: of each worker's networks, or None.
        gpus: of each worker.
    """

    workers: int | None = None
    threads: int | None = None
    gpus: float = 0.0

    def __post_init__(self) -> None:
        if self.workers is not None and self.workers < 1:
            raise UsageError(f"workers must be 1 or more, got {self.workers}")
        if not self.gpus >= 0 or (self.gpus > 1 and self.gpus != int(self.gpus)):
            raise UsageError(f"gpus of a worker must be a part of 1 or whole, got {self.gpus}")


@dataclass(frozen=True)
class Machine:
    """What one machine of the cluster has."""

    cpus: int
    gpus: float = 0.0


@dataclass(frozen=True)
class Workers:
    """How the work is shared out.

    Attributes:
        count: how many hold the networks.
        threads: of each worker's networks, reserved for it.
        gpus: of each worker, reserved for it.
    """

    count: int
    threads: int
    gpus: float = 0.0


def require_ray() -> None:
    """Say what to install where Ray or Arrow is missing.

    Raises:
        RuntimeUnavailableError: it is missing.
    """
    missing = [name for name in ("ray", "pyarrow", "pandas") if find_spec(name) is None]
    if missing:
        raise RuntimeUnavailableError(
            f"--engine ray needs {' and '.join(missing)}, which {_is(missing)} not installed; run: "
            "pip install 'pneumoseg[ray]', or leave --engine ray out"
        )


def plan_workers(machines: Sequence[Machine], request: Request, *, blocks: int) -> Workers:
    """Share a cluster out among workers; none of them spans two machines.

    Args:
        machines: of the cluster.
        request: workers, threads and GPUs.
        blocks: pieces of work; no more workers than that are started.

    Raises:
        UsageError: the cluster is too small.
    """
    cpus = sum(machine.cpus for machine in machines)
    largest = max((machine.cpus for machine in machines), default=0)
    threads = request.threads
    if threads is None:
        wanted = THREADS_OF_A_WORKER if request.workers is None else cpus // request.workers
        threads = max(1, min(wanted, largest))
    capacity = sum(_capacity(machine, threads, request.gpus) for machine in machines)
    workers = min(capacity if request.workers is None else request.workers, blocks)
    if workers > capacity or capacity < 1:
        with_gpus = f" and {request.gpus:g} GPUs" if request.gpus else ""
        raise UsageError(
            f"the Ray cluster has {cpus} processors, the largest machine {largest}, and "
            f"{sum(machine.gpus for machine in machines):g} GPUs: too few for "
            f"{max(workers, 1)} workers of {threads} threads{with_gpus}; ask for fewer"
        )
    return Workers(workers, threads, request.gpus)


def _capacity(machine: Machine, threads: int, gpus: float) -> int:
    """How many workers fit on a machine."""
    by_cpus = machine.cpus // threads
    if not gpus:
        return by_cpus
    by_gpus = int(machine.gpus) * int(1 / gpus) if gpus < 1 else int(machine.gpus // gpus)
    return min(by_cpus, by_gpus)


@contextmanager
def connected(address: str | None, request: Request, *, blocks: int) -> Iterator[Workers]:
    """Hold a cluster for a run, started here where no address is given.

    Args:
        address: ``HOST:PORT`` of a cluster's head, ``auto`` for one that runs on this machine, or
            None. A process that is connected already keeps its cluster.
        request: workers, threads and GPUs.
        blocks: pieces of work.

    Raises:
        UsageError: the cluster does not answer, or is too small for the workers asked for.
    """
    own = {**_QUIET, **({} if address else _LOOPBACK)}
    before = {name: os.environ.get(name) for name in own}
    os.environ.update(own)
    started_here = False
    try:
        ray = _imported()
        if not ray.is_initialized():
            if address is None:
                _start(ray, request)
            else:
                _connect(ray, address)
            started_here = True
        yield plan_workers(_machines(ray), request, blocks=blocks)
    finally:
        if started_here:
            ray.shutdown()
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


@contextmanager
def without_deprecations() -> Iterator[None]:
    """Keep Ray's notes on its own future from the user; the version is pinned for that reason."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.simplefilter("ignore", FutureWarning)
        yield


def _imported() -> Any:
    with without_deprecations():
        import ray
        import ray.data

    for name in ("ray", "ray.data"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    return ray


def _start(ray: Any, request: Request) -> None:
    """A cluster of one machine; it takes more workers than processors when asked to."""
    cpus = len(os.sched_getaffinity(0))
    for attempt in range(1, STARTS + 1):
        try:
            with without_deprecations():
                ray.init(
                    address="local",
                    num_cpus=max(cpus, (request.workers or 1) * (request.threads or 1)),
                    include_dashboard=False,
                    object_store_memory=OBJECT_STORE_BYTES,
                    log_to_driver=False,
                    logging_level=logging.CRITICAL,
                )
            return
        except Exception as error:  # Ray raises nothing more special where its parts do not come up
            ray.shutdown()
            if attempt == STARTS:
                raise RuntimeUnavailableError(
                    f"Ray could not be started on this machine ({_in_short(error)}); leave "
                    "--engine ray out, or try again when the machine has less to do"
                ) from error


def _connect(ray: Any, address: str) -> None:
    if address != AUTO:
        _check_answers(ray, address)
    try:
        with without_deprecations():
            ray.init(address=address, log_to_driver=False, logging_level=logging.CRITICAL)
    except (OSError, RuntimeError, ValueError, SystemExit) as error:
        raise UsageError(
            f"the Ray cluster at {address} cannot be used ({_in_short(error.__cause__ or error)}); "
            "it needs the same versions of Python and ray, and RAY_AUTH_MODE=token in the "
            "environment where it asks for a token; or leave --ray-address out to use this machine "
            "alone"
        ) from error


def _check_answers(ray: Any, address: str) -> None:
    """Say within seconds what Ray itself would find out within minutes."""
    host, _, port = address.rpartition(":")
    if "://" in address or not host or not port.isdecimal():
        raise UsageError(
            f"--ray-address is {address}; give HOST:PORT of the cluster's head on a machine of the "
            "cluster, as `ray start --head` printed it, or auto"
        )
    hosts = [host]
    if host in ("localhost", "127.0.0.1"):
        hosts.append(ray.util.get_node_ip_address())  # where ray itself will look
    if not any(_answers(each, int(port)) for each in hosts):
        raise UsageError(
            f"no Ray cluster answers at {address} within {ANSWER_SECONDS:.0f} seconds; start one "
            "with `ray start --head`, or leave --ray-address out to use this machine alone"
        )


def _answers(host: str, port: int) -> bool:
    """Whether a gRPC server is there: its SETTINGS frame comes back."""
    try:
        with socket.create_connection((host, port), timeout=ANSWER_SECONDS) as connection:
            connection.settimeout(ANSWER_SECONDS)
            connection.sendall(_HTTP2_HELLO)
            answer = connection.recv(9)
    except (OSError, OverflowError):
        return False
    return len(answer) >= 4 and answer[3] == 4


def _machines(ray: Any) -> list[Machine]:
    found = (node["Resources"] for node in ray.nodes() if node.get("Alive", True))
    return [Machine(int(each.get("CPU", 0)), float(each.get("GPU", 0))) for each in found]


def _in_short(error: BaseException) -> str:
    return " ".join(str(error).split())[:300]


def _is(names: list[str]) -> str:
    return "is" if len(names) == 1 else "are"
