"""Between the core's evidence and the Avro records of R.evidence, of which those of version 1 stay readable.

Two fields have names of their own in records: a watermark is `tick`, and a policy's tolerated_odds_ratio `psi0`.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, fields
from typing import Any, Final

import numpy as np

from stream_router.adapters.avro.codec import Codec, renamed
from stream_router.core.evidence import (
    BadDelays,
    Count,
    EpochInForce,
    Evidence,
    Outcome,
    OutcomeKey,
    Outcomes,
    Positions,
    RolloutStarted,
    Silence,
    in_columns,
)
from stream_router.core.histogram import bucket_of
from stream_router.core.lane import STABLE
from stream_router.core.policy import Policy
from stream_router.core.routing.applied_split import Versions
from stream_router.errors import DecodeError

_CODEC: Final = Codec.of("evidence")
_COLUMNS: Final = {"entity": "<i8", "order": "<i8", "delay": "<i8", "time": "<i8", "bad": "u1", "value": "<f8"}
_HISTOGRAMS: Final = ("delays", "latencies", "model_latencies")


def encode_evidence(evidence: Evidence) -> bytes:
    """The value of a record of R.evidence."""
    started, in_force = evidence.rollout_started, evidence.epoch_in_force
    return _CODEC.encode(
        {
            "by": evidence.by,
            "written_at": evidence.written_at,
            "partition": evidence.partition,
            "positions": evidence.positions and evidence.positions._asdict(),
            "tick": evidence.watermark,
            "counts": [_count_to_record(count) for count in evidence.counts],
            "columns": [_outcomes_to_record(outcomes) for outcomes in evidence.outcomes],
            "bad_delays": [{"window": bad.window, "delays": _to_buckets(bad.delays)} for bad in evidence.bad_delays],
            "texts": [{"value": value, "text": text} for value, text in evidence.texts.items()],
            "silences": [silence._asdict() for silence in evidence.silences],
            "rollout_started": started
            and {
                "rollout": started.rollout,
                "stable_version": started.versions.stable,
                "canary_version": started.versions.canary,
                "ripe_age": started.ripe_age,
                "label_age": started.label_age,
                "first_offset": started.first_offset,
                "policy": renamed(asdict(started.policy), "tolerated_odds_ratio", "psi0"),
            },
            "epoch_in_force": in_force and {**asdict(in_force), "weights": dict(in_force.weights)},
        },
    )


def decode_evidence(data: bytes | None) -> Evidence:
    """Raises DecodeError."""
    record = _CODEC.decode(data)
    started, in_force = record["rollout_started"], record["epoch_in_force"]
    singly = [_single(outcome) for outcome in record["outcomes"]]
    return Evidence(
        by=record["by"],
        written_at=record["written_at"],
        partition=record["partition"],
        positions=Positions(**record["positions"]) if record["positions"] else None,
        watermark=record["tick"],
        outcomes=(*in_columns(singly), *map(_outcomes_from_record, record["columns"])),
        counts=tuple(_count_from_record(count) for count in record["counts"]),
        bad_delays=(
            *_bad_delays_of(singly, record["stable_bad_delays"]),
            *(BadDelays(bad["window"], _from_buckets(bad["delays"])) for bad in record["bad_delays"]),
        ),
        texts={text["value"]: text["text"] for text in record["texts"]},
        silences=tuple(Silence(**silence) for silence in record["silences"]),
        rollout_started=RolloutStarted(
            rollout=started["rollout"],
            versions=Versions(stable=started["stable_version"], canary=started["canary_version"]),
            ripe_age=started["ripe_age"],
            label_age=started["label_age"],
            first_offset=started["first_offset"],
            policy=Policy.of_fields(renamed(started["policy"], "psi0", "tolerated_odds_ratio")),
        )
        if started
        else None,
        epoch_in_force=EpochInForce(**in_force) if in_force else None,
    )


def _outcomes_to_record(outcomes: Outcomes) -> dict[str, Any]:
    columns = {name: getattr(outcomes, name) for name in _COLUMNS}
    return outcomes.key._asdict() | {
        name: None if column is None else column.astype(_COLUMNS[name], copy=False).tobytes()
        for name, column in columns.items()
    }


def _outcomes_from_record(record: Mapping[str, Any]) -> Outcomes:
    try:
        columns: dict[str, Any] = {
            name: None if record[name] is None else np.frombuffer(record[name], kind) for name, kind in _COLUMNS.items()
        }
    except ValueError as error:
        raise DecodeError(f"a column of outcomes is cut off: {error}") from error
    if columns["bad"] is not None:
        columns["bad"] = columns["bad"] != 0
    outcomes = Outcomes(key=OutcomeKey(*(record[name] for name in OutcomeKey._fields)), **columns)
    lengths = {name: len(column) for name, column in columns.items() if column is not None}
    if len(set(lengths.values())) != 1:
        raise DecodeError(f"columns of outcomes have different lengths: {lengths}")
    return outcomes


def _single(record: Mapping[str, Any]) -> Outcome:
    """Of version 1."""
    return Outcome(**renamed(record, "labelled_at", "time"))


def _bad_delays_of(outcomes: Iterable[Outcome], idle: Iterable[Mapping[str, int]]) -> Iterator[BadDelays]:
    """Of version 1: in outcomes, and apart while no rollout had a number."""
    delays = [(outcome.window, outcome.delay) for outcome in outcomes if outcome.bad and outcome.lane == STABLE]
    delays += [(delay["window"], delay["delay"]) for delay in idle]
    by_window: dict[int, Counter[int]] = {}
    for window, delay in delays:
        by_window.setdefault(window, Counter())[bucket_of(delay)] += 1
    return (BadDelays(window, counts) for window, counts in by_window.items())


def _count_to_record(count: Count) -> dict[str, Any]:
    record = {field.name: getattr(count, field.name) for field in fields(Count)}
    return record | {name: _to_buckets(record[name]) for name in _HISTOGRAMS}


def _count_from_record(record: Mapping[str, Any]) -> Count:
    return Count(**{**record, **{name: _from_buckets(record[name]) for name in _HISTOGRAMS}})


def _to_buckets(histogram: Mapping[int, int]) -> list[dict[str, int]]:
    return [{"bucket": bucket, "count": count} for bucket, count in sorted(histogram.items()) if count]


def _from_buckets(buckets: Iterable[Mapping[str, int]]) -> dict[int, int]:
    return {bucket["bucket"]: bucket["count"] for bucket in buckets}
