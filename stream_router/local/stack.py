"""A local Kafka and Valkey: started, found again and stopped, all by their data folder."""

import fcntl
import json
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from stream_router.errors import LocalStackError
from stream_router.local.daemon import Daemon
from stream_router.local.jars import Progress
from stream_router.local.kafka import Kafka
from stream_router.local.valkey import Valkey

DEFAULT_DATA: Final = Path(".stream-router")
_START_SECONDS: Final = 60
_STOP_SECONDS: Final = 20
_TRIES: Final = 3
_POLL: Final = 0.05
Ports = dict[Literal["kafka", "controller", "redis"], int]


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

    Raises LocalStackError, after stopping what it had started.
    """
    data = data.resolve()
    data.mkdir(parents=True, exist_ok=True)
    with _alone(data):
        if (running := _awaited(data)) is not None:
            _refuse_other_ports(running, kafka_port, redis_port)
            return running
        _stop(data)  # one of the two may have been killed alone
        try:
            for attempt in range(_TRIES):
                ports = _choose_ports(data, kafka_port, redis_port, fresh=attempt > 0)
                if _start(data, ports, progress):
                    break
        except BaseException:
            _stop(data)
            raise
        stack = find(data)
    if stack is None:
        raise LocalStackError(f"the local stack ended right after its start; its logs are {data}/*/log")
    return stack


def stop(data: Path = DEFAULT_DATA) -> list[str]:
    """Stop what runs; the names of what was stopped. The data stays. Raises LocalStackError."""
    data = data.resolve()
    if not data.is_dir():
        return []
    with _alone(data):
        return _stop(data)


def find(data: Path = DEFAULT_DATA) -> Stack | None:
    """The running stack of the folder; None unless both servers run and answer."""
    data = data.resolve()
    kafka, valkey, ports = Kafka(data / "kafka"), Valkey(data / "redis"), _last_ports(data)
    kafka_pid, redis_pid = kafka.daemon.pid(), valkey.daemon.pid()
    if kafka_pid is None or redis_pid is None or ports is None:
        return None
    if not (valkey.answers(ports["redis"]) and kafka.answers(ports["kafka"])):
        return None
    return Stack(
        bootstrap_servers=f"127.0.0.1:{ports['kafka']}",
        redis_url=f"redis://127.0.0.1:{ports['redis']}/0",
        data=data,
        kafka_pid=kafka_pid,
        redis_pid=redis_pid,
        kafka_log=kafka.daemon.log,
        redis_log=valkey.daemon.log,
    )


def _awaited(data: Path) -> Stack | None:
    """The stack whose servers both run, as soon as it answers: a busy broker is not a dead one."""
    daemons = (Kafka(data / "kafka").daemon, Valkey(data / "redis").daemon)
    deadline = time.monotonic() + _START_SECONDS
    while all(daemon.runs() for daemon in daemons) and time.monotonic() < deadline:
        if (stack := find(data)) is not None:
            return stack
        time.sleep(_POLL)
    return None


def _start(data: Path, ports: Ports, progress: Progress) -> bool:
    """Start both and wait. False if one of them found its port taken by then."""
    kafka, valkey = Kafka(data / "kafka"), Valkey(data / "redis")
    kafka.start(ports["kafka"], ports["controller"], progress)
    valkey.start(ports["redis"])
    for daemon, answers in (
        (valkey.daemon, lambda: valkey.answers(ports["redis"])),
        (kafka.daemon, lambda: kafka.answers(ports["kafka"])),
    ):
        if not _wait(daemon, answers):
            _stop(data)
            return False
    return True


def _wait(daemon: Daemon, answers: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + _START_SECONDS
    while daemon.runs() and time.monotonic() < deadline:
        if answers():
            return True
        time.sleep(_POLL)
    if not daemon.runs() and "ddress already in use" in daemon.last_lines(50):
        return False
    state = "runs but does not answer" if daemon.runs() else "ended at its start"
    raise LocalStackError(f"{daemon.name} {state}; its log is {daemon.log}, which ends:\n{daemon.last_lines()}")


def _stop(data: Path) -> list[str]:
    daemons = (Kafka(data / "kafka").daemon, Valkey(data / "redis").daemon)
    return [daemon.name for daemon in daemons if daemon.stop(_STOP_SECONDS)]


def _last_ports(data: Path) -> Ports | None:
    try:
        ports: Ports = json.loads((data / "ports.json").read_text())
    except (FileNotFoundError, ValueError):
        return None
    return ports


def _choose_ports(data: Path, kafka_port: int | None, redis_port: int | None, *, fresh: bool) -> Ports:
    """Ports that are given, else those of the last time if they are free, else any; written to ports.json."""
    last = {} if fresh else (_last_ports(data) or {})
    given: Ports = {}
    if kafka_port is not None:
        given["kafka"] = kafka_port
    if redis_port is not None:
        given["redis"] = redis_port
    for name, port in given.items():
        if not _is_free(port):
            raise LocalStackError(f"port {port} for {name} is taken: name a free one, or leave it out for any")
    ports: Ports = {}
    for name in ("kafka", "controller", "redis"):
        ports[name] = given.get(name) or _free_port(last.get(name), set(given.values()) | set(ports.values()))
    (data / "ports.json").write_text(json.dumps(ports))
    return ports


def _free_port(wanted: int | None, taken: set[int]) -> int:
    if wanted is not None and wanted not in taken and _is_free(wanted):
        return wanted
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port: int = probe.getsockname()[1]
        if port not in taken:
            return port


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _refuse_other_ports(stack: Stack, kafka_port: int | None, redis_port: int | None) -> None:
    for name, wanted, address in (
        ("kafka", kafka_port, stack.bootstrap_servers),
        ("redis", redis_port, stack.redis_url.removesuffix("/0")),
    ):
        if wanted is not None and not address.endswith(f":{wanted}"):
            raise LocalStackError(
                f"the local stack in {stack.data} runs already, with {name} on {address}: "
                "stop it first with `stream-router local down`, or name another --data",
            )


@contextmanager
def _alone(data: Path) -> Iterator[None]:
    """One start or stop of a folder at a time."""
    with (data / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
