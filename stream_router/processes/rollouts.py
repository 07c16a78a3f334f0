"""Leading a route's rollouts by hand: commands for its controller, and rollbacks, which need none."""

import getpass
import socket
import time
import uuid
from contextlib import suppress
from typing import Any, Final, NamedTuple, Self

from stream_router.adapters.avro.log_records import encode_log_record
from stream_router.adapters.clock import now_ms
from stream_router.adapters.kafka.clients import TIMEOUT
from stream_router.adapters.kafka.control_topics import ControlTopics, News
from stream_router.adapters.kafka.failures import explaining
from stream_router.adapters.kafka.producers import AtLeastOnceProducer
from stream_router.adapters.redis.store import RedisSplitStore
from stream_router.core.policy import Policy
from stream_router.core.rollout.log_records import COMMAND_TIME_MS, Command, Refusal, Transition, Verb
from stream_router.core.rollout.phases import Phase
from stream_router.core.rollout.rollout_event import ROLLBACK, Act, RolloutEvent
from stream_router.core.rollout.rollout_state import RolloutState
from stream_router.core.rollout.status import RolloutStatus
from stream_router.core.rollout.verbs import rollback_by_hand
from stream_router.core.route import Route
from stream_router.core.routing.applied_split import AppliedSplit
from stream_router.errors import NoAnswerError, RefusedError, UnreachableError
from stream_router.settings import Settings, load_settings

ANSWER_TIMEOUT: Final = 10.0
"""Seconds for which a controller's answer is waited for."""

_WAIT: Final = 0.2
"""Seconds of one look at the log."""


class Change(NamedTuple):
    """A record of R.rollout-events that changed a rollout, or refused to; `offset` is its place."""

    offset: int
    record: Transition | Refusal | RolloutEvent


class Rollouts:
    """The rollouts of a route, as `stream-router rollout` leads them; a context manager.

    Keywords are settings, such as bootstrap_servers and redis_url, in place of variables and settings file. Every
    method raises UnreachableError where Kafka does not answer, TopicError where the route's topics are missing.

        with Rollouts("flights", bootstrap_servers="kafka:9092") as rollouts:
            rollouts.start("8", reason="retrained on October")
            rollouts.wait("Promoted", timeout=7_200)
    """

    def __init__(self, route: str | Route, settings: Settings | None = None, **flags: Any) -> None:
        self._settings = load_settings(flags=flags) if settings is None else settings
        topics = self._settings.topics
        named = {"requests": topics.requests, "ground_truth": topics.ground_truth, "predictions": topics.predictions}
        self._route = Route(route, **named) if isinstance(route, str) else route
        self._topics = ControlTopics(self._settings, self._route)
        self._state, self._changes = RolloutState(), list[Change]()
        self._splits: list[AppliedSplit] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._topics.close()

    def start(
        self, version: str, *, policy: Policy | None = None, reason: str = "", by: str | None = None
    ) -> Transition:
        """Begin a rollout of the model version, by the policy, else the route's default.

        This and the other verbs return what the controller did, and raise RefusedError where it refused, NoAnswerError
        where none has answered in ANSWER_TIMEOUT. `by`: who it was, else user and host.
        """
        return self._command("start", reason, by, version=version, policy=policy)

    def pause(self, *, reason: str = "", by: str | None = None) -> Transition:
        """Hold canary's weight."""
        return self._command("pause", reason, by)

    def resume(self, *, reason: str = "", by: str | None = None) -> Transition:
        """Go on from the weight in force."""
        return self._command("resume", reason, by)

    def approve(self, *, reason: str = "", by: str | None = None) -> Transition:
        """Open the step that waits for a person."""
        return self._command("approve", reason, by)

    def promote(self, *, full: bool = False, reason: str = "", by: str | None = None) -> Transition:
        """Make canary's version stable's where every guardrail is healthy; `full`: also where not all is shown."""
        return self._command("promote", reason, by, full=full)

    def abort(self, *, reason: str = "", by: str | None = None) -> RolloutEvent:
        """Roll the running rollout back, whoever else lives: every router that reads the record obeys it.

        Raises RefusedError where nothing runs.
        """
        return self._roll_back("abort", reason, by)

    def undo(self, *, reason: str = "", by: str | None = None) -> RolloutEvent:
        """Give stable its previous version back after a promotion, as `abort` does it."""
        return self._roll_back("undo", reason, by)

    def state(self) -> RolloutState:
        """As of now."""
        self._take(self._topics.read_to_ends())
        return self._state

    def history(self) -> tuple[Change, ...]:
        """Every change and every refusal, in order."""
        self.state()
        return tuple(self._changes)

    def shown(self) -> RolloutStatus | None:
        """What the controller shows in Redis: None where it has shown nothing, or Redis does not answer."""
        store = RedisSplitStore(self._route, self._settings)
        try:
            with suppress(UnreachableError):
                return store.status()
        finally:
            store.close()
        return None

    def wait(self, *phases: Phase, timeout: float) -> RolloutState:
        """Return once the rollout is in one of the phases, or in one from which it goes to none of them by itself.

        These are Idle, Manual, Promoted, RolledBack, Aborted, and Paused. Raises NoAnswerError after `timeout` seconds.
        """
        deadline, state = time.monotonic() + timeout, self.state()
        while state.phase not in phases and state.phase not in _RESTING:
            if time.monotonic() >= deadline:
                raise NoAnswerError(
                    f"rollout {state.rollout} is {state.phase} after {timeout:g} s, and not {' or '.join(phases)} yet"
                )
            self._take(self._topics.read(min(_WAIT, max(0.0, deadline - time.monotonic()))))
            state = self._state
        return state

    def obeyed(self, rollback: RolloutEvent, timeout: float = ANSWER_TIMEOUT) -> AppliedSplit | None:
        """The split without a share for canary that a router has told of, or that was in force anyway; else None."""
        deadline = time.monotonic() + timeout
        while True:
            for applied in self._splits:
                if applied.canary == 0 and applied.epoch >= rollback.epoch:
                    return applied
            if time.monotonic() >= deadline:
                return None
            self._take(self._topics.read(_WAIT))

    def _command(self, verb: Verb, reason: str, by: str | None, **arguments: Any) -> Transition:
        state, now = self.state(), now_ms()
        command = Command(
            id=str(uuid.uuid4()),
            verb=verb,
            by=by or _who(),
            reason=reason,
            at=now,
            seen=state.newest,
            expires_at=now + COMMAND_TIME_MS,
            **arguments,
        )
        self._write(command)
        deadline = time.monotonic() + ANSWER_TIMEOUT
        while time.monotonic() < deadline:
            for change in self._take(self._topics.read(_WAIT)):
                if isinstance(change.record, Transition) and change.record.command == command.id:
                    return change.record
                if isinstance(change.record, Refusal) and change.record.command == command.id:
                    raise RefusedError(change.record.reason)
        raise NoAnswerError(
            f"no controller has answered within {ANSWER_TIMEOUT:g} s: start 'stream-router monitor --route "
            f"{self._route.name}', or look at why it does not; the command expires by itself"
        )

    def _roll_back(self, act: Act, reason: str, by: str | None) -> RolloutEvent:
        event = rollback_by_hand(act, self.state(), by or _who(), reason, now_ms())
        if isinstance(event, str):
            raise RefusedError(f"{act}: {event}")
        self._write(event)
        return event

    def _write(self, record: Command | RolloutEvent) -> None:
        topic, number = self._route.topic("rollout-events"), getattr(record, "rollout", self._state.rollout)
        with explaining(self._settings, f"writing topic {topic}"):
            producer = AtLeastOnceProducer(self._settings)
            try:
                producer.send(topic, encode_log_record(record), str(number).encode(), 0)
                producer.deliver(TIMEOUT)
            finally:
                producer.retire()

    def _take(self, news: News) -> list[Change]:
        """What is new."""
        for applied in news.splits:
            self._state = self._state.after_split(applied)
            self._splits.append(applied)
        changes = []
        for offset, record in news.log:
            self._state = self._state.after_record(offset, record)
            if isinstance(record, RolloutEvent) and record.kind != ROLLBACK:
                continue
            if not isinstance(record, Command):
                changes.append(Change(offset, record))
        self._changes += changes
        return changes


_RESTING: Final[frozenset[Phase]] = frozenset({"Idle", "Manual", "Promoted", "RolledBack", "Aborted", "Paused"})


def _who() -> str:
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # no such user in this container
        user = "unknown"
    return f"{user}@{socket.gethostname()}"
