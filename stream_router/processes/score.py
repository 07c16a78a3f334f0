"""A scoring job: reads its lane in micro-batches, asks the model, writes predictions; near-real-time or batch."""

import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from itertools import repeat
from typing import NamedTuple

import structlog

from stream_router.adapters.avro.prediction_batch import PredictionBatch
from stream_router.adapters.avro.requests import RequestDecoder
from stream_router.adapters.clock import now_ms
from stream_router.adapters.health import ASSIGNMENT, Health
from stream_router.adapters.http_server import serving
from stream_router.adapters.kafka.clients import largest_message, partition_count, stable_ends
from stream_router.adapters.kafka.drained import Drained
from stream_router.adapters.kafka.group import Start
from stream_router.adapters.kafka.handler import LoopConfig
from stream_router.adapters.kafka.loop import TransactionLoop
from stream_router.adapters.kafka.polling import Record
from stream_router.adapters.kafka.record_headers import read_headers
from stream_router.adapters.kafka.transaction import Transaction
from stream_router.adapters.metrics import MODEL_SECONDS, SCORED
from stream_router.adapters.model import Model, Row, load_model
from stream_router.adapters.redis.store import RedisSplitStore
from stream_router.core.lane import Lane
from stream_router.core.route import Route
from stream_router.core.routing.header import Headers, Routing, parse_routing
from stream_router.core.scoring.model_output import ModelOutput, outputs_of, raised
from stream_router.errors import DecodeError, HeaderError
from stream_router.settings import Settings, masked_url

_log = structlog.get_logger()


@dataclass(frozen=True, kw_only=True)
class ScoringJob:
    """What one job scores, and how.

    `model` is a loader (adapters/model.py), `request_schema` one of our subjects, a schema file, or None for JSON.
    `max_wait` in seconds. With `until_end` it is a batch job, done when its lane is drained.
    """

    lane: Lane
    model: str
    model_version: str
    request_schema: str | None = None
    id_field: str = "request_id"
    instance: str
    start: Start = "earliest"
    max_batch: int = 500
    max_wait: float = 0.05
    until_end: bool = False


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
        self._has_failed = False
        self.done = Scored()

    def due(self) -> bool:
        return False

    def handle(self, records: Sequence[Record], transaction: Transaction) -> None:
        headers, unreadable = read_headers(records)
        requests: list[Request] = []
        for index, record in enumerate(records):
            if index in unreadable:
                transaction.divert(record, index, unreadable[index], None)
            elif (request := self._read(record, index, headers[index], transaction)) is not None:
                requests.append(request)
        transaction.on_commit(lambda: self._count_dead_letters(len(records) - len(requests)))
        if requests:
            self._score(requests, transaction)

    def _score(self, requests: Sequence["Request"], transaction: Transaction) -> None:
        outputs, seconds = self._ask([request.row for request in requests if request.row is not None])
        scored_at, waiting = now_ms(), iter(outputs)
        answers = [ModelOutput(None, of.problem) if of.row is None else next(waiting) for of in requests]
        batch = PredictionBatch(
            lane=self._lane,
            scored_at=scored_at,
            model_version=self._model.version,
            model_digest=self._model.digest,
            batch_id=f"{self._run}-{self._batches}",
            batch_size=len(requests),
            model_seconds=seconds / len(requests),
        )
        self._batches += 1
        MODEL_SECONDS.labels(self._lane).observe(seconds)
        transaction.produce_all(
            repeat(self._topic),
            [
                batch.encode(of.request_id, of.key, of.routing, of.requested_at, index, answer)
                for index, (of, answer) in enumerate(zip(requests, answers, strict=True))
            ],
            [of.request_id.encode() for of in requests],
            repeat(-1),
            repeat(scored_at),
            repeat(None),
        )
        errors = sum(answer.error is not None for answer in answers)
        self._tell([output.error for output in outputs if output.error is not None], len(outputs))
        transaction.on_commit(lambda: self._count_batch(len(requests), errors))

    def _tell(self, errors: Sequence[str], asked: int) -> None:
        """Once, until a batch has none: each of them stands in its prediction."""
        if errors and not self._has_failed:
            _log.warning("the model fails", lane=self._lane, errors=len(errors), asked=asked, first=errors[0])
        self._has_failed = bool(errors)

    def _count_dead_letters(self, dead_letters: int) -> None:
        self.done.dead_letters += dead_letters

    def _count_batch(self, predictions: int, errors: int) -> None:
        SCORED.labels(self._lane, "answered").inc(predictions - errors)
        SCORED.labels(self._lane, "error").inc(errors)
        self.done.predictions += predictions
        self.done.errors += errors
        self.done.batches += 1

    def _read(self, record: Record, index: int, headers: Headers | None, transaction: Transaction) -> Request | None:
        """None for a dead letter: what has no id or was not routed cannot be joined with a label, ever."""
        row, problem = None, None
        try:
            row = self._decoder.row(record.value())
        except DecodeError as error:
            problem = f"DecodeError: {error}"
        try:
            request_id = self._decoder.request_id(headers, row)
            routing = parse_routing(headers)
        except (DecodeError, HeaderError) as error:
            why = error if problem is None else DecodeError(f"{error}. {problem}")
            transaction.divert(record, index, why, headers)
            return None
        requested_at = max(0, record.timestamp()[1])
        return Request(request_id, routing, record.key(), requested_at, row, problem)

    def _ask(self, rows: list[Row]) -> tuple[list[ModelOutput], float]:
        """The outputs and the seconds they took. Where a batch raises, each row is asked alone, so that a poor row
        spoils only its own prediction.
        """
        if not rows:
            return [], 0.0
        begun = time.perf_counter()
        try:
            outputs = outputs_of(self._model.predict(rows), len(rows))
        except Exception as error:  # noqa: BLE001 - the model is the user's code, and errors are evidence
            outputs = [raised(error)] if len(rows) == 1 else [self._ask([row])[0][0] for row in rows]
        return outputs, time.perf_counter() - begun


def score(settings: Settings, route: Route, job: ScoringJob, stop: Callable[[], bool]) -> tuple[Scored, bool]:
    """Run the job until `stop()`, or until its lane is drained. Returns what it did, and whether it came to its end.

    Raises ModelError where the model cannot be loaded or the lane has another version, UnreachableError, FencedError,
    TopicError, GapError.
    """
    health = Health("the scoring job's loop", {ASSIGNMENT: "not a member of the group yet"})
    with serving(settings, health) as address:
        _log.info(
            "scoring starts",
            route=route.name,
            lane=job.lane,
            model=job.model,
            model_version=job.model_version,
            instance=job.instance,
            until_end=job.until_end,
            brokers=settings.bootstrap_servers,
            redis=masked_url(settings.redis_url.get_secret_value()),
            metrics=address,
        )
        return _score(settings, route, job, stop, health)


def _score(
    settings: Settings, route: Route, job: ScoringJob, stop: Callable[[], bool], health: Health
) -> tuple[Scored, bool]:
    decoder = RequestDecoder(job.request_schema, job.id_field)
    model = load_model(job.model, job.model_version)
    store = RedisSplitStore(route, settings)
    store.register_model(job.lane, job.model_version)
    store.close()
    scorer, config = Scorer(route, job.lane, model, decoder), scoring_config(settings, route, job)
    with ExitStack() as clean_up:
        drained = clean_up.enter_context(closing(_drained(settings, config))) if job.until_end else None
        loop = TransactionLoop(settings, config, scorer, health)
        loop.run(lambda: stop() or (drained is not None and drained(time.monotonic())))
    _log.info("scoring ended", lane=job.lane, **vars(scorer.done))
    return scorer.done, drained is None or drained.done


def _drained(settings: Settings, config: LoopConfig) -> Drained:
    """Of the lane's ends as they are now."""
    ends = stable_ends(settings, config.topic, partition_count(settings, config.topic))
    return Drained(settings, config.topic, config.group, ends)


def scoring_config(settings: Settings, route: Route, job: ScoringJob) -> LoopConfig:
    """A batch job leaves its group when it ends, so it is no static member."""
    return LoopConfig(
        topic=route.lane_topic(job.lane),
        group=route.scoring_group(job.lane),
        instance=job.instance,
        dead_letters=route.topic("dead-letters"),
        stage=f"score {job.lane}",
        start=job.start,
        max_batch=job.max_batch,
        max_wait=job.max_wait,
        max_message_bytes=largest_message(settings, route.topic("dead-letters")),
        static_member=not job.until_end,
    )
