"""A scoring job: reads its lane in micro-batches, asks the model, writes predictions; near-real-time or batch."""

import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import structlog
from confluent_kafka import Consumer, TopicPartition

from stream_router.adapters.kafka import (
    TIMEOUT,
    Record,
    Start,
    client_config,
    has_records,
    largest_message,
    partition_count,
    stable_ends,
)
from stream_router.adapters.loop import LoopConfig, Output
from stream_router.adapters.metrics import MODEL_SECONDS, SCORED
from stream_router.adapters.model import Model, Row
from stream_router.adapters.records import encode_prediction
from stream_router.adapters.requests import RequestDecoder
from stream_router.adapters.transactions import TransactionLoop
from stream_router.core.lane import Lane
from stream_router.core.route import Route
from stream_router.core.routing.header import Routing, parse_routing
from stream_router.core.scoring.answer import Answer, answers_of, raised
from stream_router.core.scoring.prediction import Prediction
from stream_router.errors import DecodeError, HeaderError
from stream_router.settings import Settings

_LOOK_EVERY: Final = 0.5
"""Seconds between looks whether a batch job is done."""

_log = structlog.get_logger()


class Request(NamedTuple):
    """A request that has an id and was routed; `row` is None where its value cannot be read, and `problem` says why."""

    request_id: str
    routing: Routing
    key: bytes | None
    requested_at: int
    row: Row | None
    problem: str | None


@dataclass
class Scored:
    """What a job has done, committed transactions only."""

    predictions: int = 0
    errors: int = 0
    dead_letters: int = 0
    batches: int = 0


class Scorer:
    """Handler of the transaction loop."""

    def __init__(self, route: Route, lane: Lane, model: Model, decoder: RequestDecoder) -> None:
        self._topic, self._lane, self._model, self._decoder = route.topic("predictions"), lane, model, decoder
        self._run, self._batches = uuid.uuid4().hex[:12], 0
        self.done, self._open = Scored(), Scored()

    def due(self) -> bool:
        return False

    def committed(self) -> None:
        done, new = self.done, self._open
        SCORED.labels(self._lane, "answered").inc(new.predictions - new.errors)
        SCORED.labels(self._lane, "error").inc(new.errors)
        self.done = Scored(*(getattr(done, name) + getattr(new, name) for name in Scored.__dataclass_fields__))
        self._open = Scored()

    def aborted(self) -> None:
        self._open = Scored()

    def handle(self, messages: Sequence[Record], output: Output) -> None:
        read = (self._read(message, index, output) for index, message in enumerate(messages))
        requests = [request for request in read if request is not None]
        if not requests:
            return
        answers, seconds = self._ask([request.row for request in requests if request.row is not None])
        scored_at, batch_id, waiting = _clock(), f"{self._run}-{self._batches}", iter(answers)
        self._batches += 1
        MODEL_SECONDS.labels(self._lane).observe(seconds)
        for index, request in enumerate(requests):
            answer = Answer(None, request.problem) if request.row is None else next(waiting)
            prediction = Prediction(
                request_id=request.request_id,
                key=request.key,
                lane=self._lane,
                rollout=request.routing.rollout,
                epoch=request.routing.epoch,
                digest=request.routing.digest,
                routed_at=request.routing.routed_at,
                requested_at=request.requested_at,
                scored_at=scored_at,
                model_version=self._model.version,
                model_digest=self._model.digest,
                batch_id=batch_id,
                batch_index=index,
                batch_size=len(requests),
                model_seconds=seconds / len(requests),
                value=answer.value,
                error=answer.error,
            )
            key = request.request_id.encode()
            output.produce(self._topic, encode_prediction(prediction), key, -1, scored_at, None)
            self._open.errors += answer.error is not None
        self._open.predictions += len(requests)
        self._open.batches += 1

    def _read(self, message: Record, index: int, output: Output) -> Request | None:
        """None for a dead letter: what has no id or was not routed cannot be joined with a label, ever."""
        headers, row, problem = message.headers(), None, None
        try:
            row = self._decoder.row(message.value())
        except DecodeError as error:
            problem = f"DecodeError: {error}"
        try:
            request_id = self._decoder.request_id(headers, row)
            routing = parse_routing(headers)
        except (DecodeError, HeaderError) as error:
            why = error if problem is None else DecodeError(f"{error}. {problem}")
            output.divert(message, why, index)
            self._open.dead_letters += 1
            return None
        requested_at = max(0, message.timestamp()[1])
        return Request(request_id, routing, message.key(), requested_at, row, problem)

    def _ask(self, rows: list[Row]) -> tuple[list[Answer], float]:
        """The answers and the seconds they took. Where a batch raises, each row is asked alone, so that a poor row
        spoils only its own prediction.
        """
        if not rows:
            return [], 0.0
        begun = time.perf_counter()
        try:
            answers = answers_of(self._model.predict(rows), len(rows))
        except Exception as error:  # noqa: BLE001 - the model is the user's code, and errors are evidence
            answers = [raised(error)] if len(rows) == 1 else [self._ask([row])[0][0] for row in rows]
        return answers, time.perf_counter() - begun


class Drained:
    """Whether the group has read its lane up to the ends that were there when the job began."""

    def __init__(self, settings: Settings, topic: str, group: str) -> None:
        self._settings, self._topic = settings, topic
        self._ends = stable_ends(settings, topic, partition_count(settings, topic))
        contract = {"group.id": group, "enable.auto.commit": False}
        self._group = Consumer(client_config(settings, {}, contract))
        self._next_look = 0.0
        self.done = False

    def __call__(self, now: float) -> bool:
        if now < self._next_look:
            return False
        self._next_look = now + _LOOK_EVERY
        wanted = [TopicPartition(self._topic, partition) for partition in self._ends]
        committed = {place.partition: place.offset for place in self._group.committed(wanted, TIMEOUT)}
        if any(offset < 0 for offset in committed.values()):
            return False  # a partition that no member of the group has begun
        spans = {partition: (committed[partition], end) for partition, end in self._ends.items()}
        if has_records(self._settings, self._topic, spans):
            return False
        self._group.close()
        self.done = True
        return True


def score(
    settings: Settings,
    config: LoopConfig,
    scorer: Scorer,
    *,
    until_end: bool,
    stop: Callable[[], bool],
) -> tuple[Scored, bool]:
    """Run the job until `stop()`, or until its lane is drained. Returns what it did, and whether it came to its end."""
    drained = Drained(settings, config.topic, config.group) if until_end else None
    loop = TransactionLoop(settings, config, scorer)
    loop.run(lambda: stop() or (drained is not None and drained(time.monotonic())))
    _log.info("scoring ended", lane=config.topic, **vars(scorer.done))
    return scorer.done, drained is None or drained.done


def scoring_loop(
    settings: Settings,
    route: Route,
    lane: Lane,
    *,
    instance: str,
    start: Start,
    max_batch: int,
    max_wait: float,
    until_end: bool,
) -> LoopConfig:
    """A batch job leaves its group when it ends, so it is no static member."""
    return LoopConfig(
        topic=route.lane_topic(lane),
        group=route.scoring_group(lane),
        instance=instance,
        dead_letters=route.topic("dead-letters"),
        stage=f"score {lane}",
        start=start,
        max_batch=max_batch,
        max_wait=max_wait,
        max_message_bytes=largest_message(settings, route.topic("dead-letters")),
        static_member=not until_end,
    )


def _clock() -> int:
    return time.time_ns() // 1_000_000
