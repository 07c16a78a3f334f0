"""A local Kafka and Valkey: started, found again and stopped, each by itself, by their data folder."""

import fcntl
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from stream_router.errors import LocalStackError
from stream_router.local.daemon import PRIVATE
from stream_router.local.jars import Progress
from stream_router.local.kafka import Kafka
from stream_router.local.ports import PortName, Ports, choose_ports, last_ports
from stream_router.local.valkey import Valkey

DEFAULT_DATA: Final = Path(".stream-router")
_START_SECONDS: Final = 60
_STOP_SECONDS: Final = 20
_TRIES: Final = 3
_POLL: Final = 0.05
_LOOK_SECONDS: Final = 5
"""Patience with a server that is only looked at: a busy one is slow to answer."""

Server = Kafka | Valkey
State = Literal["running", "not answering", "stopped"]


@dataclass(frozen=True)
class ServerStatus:
    """One server as it was found; `address` and `pid` are None where it is stopped."""

    name: str
    state: State
    address: str | None
    pid: int | None
    log: Path


@dataclass(frozen=True)
class Stack:
    """A running stack."""

    bootstrap_servers: str
    redis_url: str
    data: Path
    kafka_pid: int
    redis_pid: int
    kafka_log: Path
    redis_log: Path

    @property
    def servers(self) -> tuple[ServerStatus, ServerStatus]:
        """Kafka and Valkey."""
        return (
            ServerStatus("Kafka", "running", self.bootstrap_servers, self.kafka_pid, self.kafka_log),
            ServerStatus("Valkey", "running", self.redis_url, self.redis_pid, self.redis_log),
        )


def quiet(there: int, total: int, name: str) -> None:
    """Progress that nobody watches."""
    del there, total, name


@contextmanager
def local_stack(data: Path, progress: Progress = quiet) -> Iterator[Stack]:
    """A stack for as long as the block runs. Raises LocalStackError."""
    stack = start(data, progress=progress)
    try:
        yield stack
    finally:
        stop(data)


def start(
    data: Path = DEFAULT_DATA,
    *,
    kafka_port: int | None = None,
    redis_port: int | None = None,
    progress: Progress = quiet,
) -> Stack:
    """Start what does not run, wait until it answers; ports that are None are the last ones or free ones.

    A server that runs is left as it is. Raises LocalStackError, after stopping what it had started.
    """
    data = data.resolve()
    data.mkdir(mode=PRIVATE, parents=True, exist_ok=True)
    given: Ports = {}
    if kafka_port is not None:
        given["kafka"] = kafka_port
    if redis_port is not None:
        given["redis"] = redis_port
    with _alone(data):
        kafka, valkey = _servers(data)
        ports = last_ports(data)
        down = []
        for server in (kafka, valkey):
            if _is_up(server, ports):
                _refuse_another_port(server, ports, given, data)
            else:
                down.append(server)
        if down:
            ports = _start(data, down, given, progress)
        return Stack(
            bootstrap_servers=kafka.address(ports["kafka"]),
            redis_url=valkey.address(ports["redis"]),
            data=data,
            kafka_pid=_pid(kafka),
            redis_pid=_pid(valkey),
            kafka_log=kafka.daemon.log,
            redis_log=valkey.daemon.log,
        )


def stop(data: Path = DEFAULT_DATA) -> list[str]:
    """Stop what runs; the names of what was stopped. The data stays. Raises LocalStackError."""
    data = data.resolve()
    if not data.is_dir():
        return []
    with _alone(data):
        return _stop(_servers(data))


def status(data: Path = DEFAULT_DATA) -> tuple[ServerStatus, ServerStatus]:
    """Kafka and Valkey, each as it is now."""
    data = data.resolve()
    ports = last_ports(data)
    kafka, valkey = _servers(data)
    return _status(kafka, ports), _status(valkey, ports)


def find(data: Path = DEFAULT_DATA) -> Stack | None:
    """The running stack of the folder; None unless both servers run and answer."""
    kafka, redis = status(data)
    if kafka.state != "running" or redis.state != "running":
        return None
    if kafka.address is None or redis.address is None or kafka.pid is None or redis.pid is None:
        return None
    return Stack(kafka.address, redis.address, data.resolve(), kafka.pid, redis.pid, kafka.log, redis.log)


def _servers(data: Path) -> tuple[Server, Server]:
    return Kafka(data / "kafka"), Valkey(data / "redis")


def _status(server: Server, ports: Ports) -> ServerStatus:
    daemon, port = server.daemon, ports.get(server.ports[0])
    pid = daemon.pid()
    if pid is None and not daemon.runs():
        return ServerStatus(daemon.name, "stopped", None, None, daemon.log)
    answers = port is not None and server.answers(port, _LOOK_SECONDS)
    address = None if port is None else server.address(port)
    return ServerStatus(daemon.name, "running" if answers else "not answering", address, pid, daemon.log)


def _is_up(server: Server, ports: Ports) -> bool:
    """Whether a server that runs answers in time: a busy one is not a dead one."""
    port = ports.get(server.ports[0])
    deadline = time.monotonic() + _START_SECONDS
    while port is not None and server.daemon.runs() and time.monotonic() < deadline:
        if server.answers(port):
            return True
        time.sleep(_POLL)
    return False


def _start(data: Path, servers: Sequence[Server], given: Mapping[PortName, int], progress: Progress) -> Ports:
    """Start these and wait; their ports and those of the others. Raises LocalStackError, none of them running."""
    _stop(servers)  # one may run and not answer
    try:
        return _started(data, servers, given, progress)
    except BaseException:
        _stop(servers)
        raise


def _started(data: Path, servers: Sequence[Server], given: Mapping[PortName, int], progress: Progress) -> Ports:
    """One that finds its port taken tries another."""
    waiting = list(servers)
    for attempt in range(_TRIES):
        names = [name for server in waiting for name in server.ports]
        ports = choose_ports(data, names, given, fresh=attempt > 0)
        for server in waiting:
            _launch(server, ports, progress)
        waiting = [server for server in waiting if not _answers_at_last(server, ports)]
        if not waiting:
            return ports
    raise _failure(waiting[0], f"found its port taken {_TRIES} times")


def _launch(server: Server, ports: Ports, progress: Progress) -> None:
    if isinstance(server, Kafka):
        server.start(ports["kafka"], ports["controller"], progress)
    else:
        server.start(ports["redis"])


def _answers_at_last(server: Server, ports: Ports) -> bool:
    """Wait for a server that was just started. False if it found its port taken. Raises LocalStackError."""
    if _is_up(server, ports):
        return True
    if server.daemon.runs():
        raise _failure(server, "runs but does not answer")
    if "ddress already in use" in server.daemon.last_lines(50):
        return False
    raise _failure(server, "ended at its start")


def _pid(server: Server) -> int:
    pid = server.daemon.pid()
    if pid is None:
        raise _failure(server, "ended right after its start")
    return pid


def _failure(server: Server, what: str) -> LocalStackError:
    daemon = server.daemon
    return LocalStackError(f"{daemon.name} {what}; its log is {daemon.log}, which ends:\n{daemon.last_lines()}")


def _stop(servers: Sequence[Server]) -> list[str]:
    return [server.daemon.name for server in servers if server.daemon.stop(_STOP_SECONDS)]


def _refuse_another_port(server: Server, ports: Ports, given: Mapping[PortName, int], data: Path) -> None:
    name = server.ports[0]
    if given.get(name, ports[name]) != ports[name]:
        raise LocalStackError(
            f"the local stack in {data} runs already, with {name} on {server.address(ports[name])}: "
            "stop it first with `stream-router local down`, or name another --data",
        )


@contextmanager
def _alone(data: Path) -> Iterator[None]:
    """One start or stop of a folder at a time."""
    with (data / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
