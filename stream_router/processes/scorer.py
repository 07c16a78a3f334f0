"""The handler of a scoring job's loop: reads requests, asks the model, writes predictions."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import Final, NamedTuple

import structlog

from stream_router.adapters.avro.prediction_batch import PredictionBatch
from stream_router.adapters.avro.requests import RequestDecoder
from stream_router.adapters.clock import now_ms
from stream_router.adapters.kafka.polling import Record
from stream_router.adapters.kafka.record_headers import read_headers
from stream_router.adapters.kafka.transaction import Transaction
from stream_router.adapters.metrics import MODEL_SECONDS, SCORED
from stream_router.core.lane import Lane
from stream_router.core.route import Route
from stream_router.core.routing.header import Headers, Routing, parse_routing
from stream_router.core.scoring.asking import Row
from stream_router.core.scoring.error_tally import ErrorTally
from stream_router.core.scoring.model_output import LONGEST_TEXT, ModelOutput, failed
from stream_router.errors import DecodeError, HeaderError, LaneError
from stream_router.processes.job_reporter import JobReporter
from stream_router.processes.served_model import ServedModel

_REST: Final = 8_192
"""Bytes of a prediction at most beside its request's key and its text: ids, versions, digests, an error."""

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
    """What a job has done, committed transactions only; `model_version` made the last of it."""

    predictions: int = 0
    errors: int = 0
    dead_letters: int = 0
    batches: int = 0
    model_version: str | None = None


class Scorer:
    """Handler of the transaction loop. `largest`: bytes of key and value that the topic of predictions takes."""

    def __init__(
        self,
        route: Route,
        lane: Lane,
        model: ServedModel,
        decoder: RequestDecoder,
        reporter: JobReporter,
        largest: int,
    ) -> None:
        self._topic, self._lane, self._model, self._decoder = route.topic("predictions"), lane, model, decoder
        self._reporter, self._tally = reporter, ErrorTally()
        self._longest_key = largest - LONGEST_TEXT - _REST
        self._run, self._batches = uuid.uuid4().hex[:12], 0
        self.done = Scored()

    def due(self) -> bool:
        self._model.turn()
        return False

    def handle(self, records: Sequence[Record], transaction: Transaction) -> None:
        self._model.turn()
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

    def _score(self, requests: Sequence[Request], transaction: Transaction) -> None:
        served = self._model.ask([request.row for request in requests if request.row is not None])
        scored_at, waiting = now_ms(), iter(served.answer.outputs)
        answers = [failed(of.problem or "") if of.row is None else next(waiting) for of in requests]
        seconds = served.answer.seconds
        batch = PredictionBatch(
            lane=self._lane,
            scored_at=scored_at,
            model_version=served.version,
            model_digest=served.digest,
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
        self._tell(requests, answers, scored_at)
        errors = sum(answer.error is not None for answer in answers)
        transaction.on_commit(lambda: self._count_batch(len(requests), errors, served.version))

    def _tell(self, requests: Sequence[Request], answers: Sequence[ModelOutput], now: int) -> None:
        """Errors of the model, not those of requests that it was never asked about."""
        errors = [
            (of.request_id, answer.error)
            for of, answer in zip(requests, answers, strict=True)
            if answer.error is not None and of.row is not None
        ]
        for report in self._tally.on_errors(errors, now) if errors else ():
            _log.warning("the model fails", lane=self._lane, **report._asdict())
            self._reporter.tell(last_error=f"{report.error} ({report.errors} times, one of them {report.request_id})")

    def _count_dead_letters(self, dead_letters: int) -> None:
        self.done.dead_letters += dead_letters

    def _count_batch(self, predictions: int, errors: int, version: str) -> None:
        SCORED.labels(self._lane, "answered").inc(predictions - errors)
        SCORED.labels(self._lane, "error").inc(errors)
        self.done.predictions += predictions
        self.done.errors += errors
        self.done.batches += 1
        self.done.model_version = version

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
            key = self._key(record)
        except (DecodeError, HeaderError, LaneError) as error:
            why = error if problem is None else DecodeError(f"{error}. {problem}")
            transaction.divert(record, index, why, headers)
            return None
        requested_at = max(0, record.timestamp()[1])
        return Request(request_id, routing, key, requested_at, row, problem)

    def _key(self, record: Record) -> bytes | None:
        """Raises LaneError for one that no prediction has room for."""
        key = record.key()
        if key is not None and len(key) > self._longest_key:
            raise LaneError(
                f"its key has {len(key)} bytes, and a prediction in topic {self._topic} takes {self._longest_key}"
            )
        return key
