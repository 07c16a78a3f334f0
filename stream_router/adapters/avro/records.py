"""Between the core's types and the Avro records of schemas/.

Three fields have names of their own in records: a watermark is `tick`, an e-value `evidence`, and a policy's
tolerated_odds_ratio `psi0`.
"""

from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any

from stream_router.adapters.avro.codec import Codec
from stream_router.core.deciding.verdict import Numbers
from stream_router.core.deciding.windows import WindowedAccuracy
from stream_router.core.evidence import (
    Count,
    EpochInForce,
    Evidence,
    Outcome,
    Positions,
    RolloutStarted,
    Silence,
    StableBadDelay,
)
from stream_router.core.policy import Policy
from stream_router.core.rollout.rollout_event import RolloutEvent
from stream_router.core.routing.applied_split import AppliedSplit, Models, Versions
from stream_router.core.scoring.prediction import Prediction

_PREDICTION, _EVIDENCE = Codec.of("prediction"), Codec.of("evidence")
_SPLIT, _ROLLOUT_EVENT = Codec.of("split"), Codec.of("rollout_event")
_WINDOWED_ACCURACY = Codec.of("windowed_accuracy")
_PREDICTION_FIELDS = tuple(field.name for field in fields(Prediction))


def encode_prediction(prediction: Prediction) -> bytes:
    """The value of a record of R.predictions; its key is the request's id."""
    return _PREDICTION.encode({name: getattr(prediction, name) for name in _PREDICTION_FIELDS})


def decode_prediction(data: bytes | None) -> Prediction:
    """The value of a record of R.predictions, read. Raises DecodeError."""
    return Prediction(**_PREDICTION.decode(data))


def encode_split(applied: AppliedSplit) -> bytes:
    return _SPLIT.encode(
        {
            "epoch": applied.epoch,
            "digest": applied.digest,
            "raw": applied.raw,
            "weights": {"stable": 1.0 - applied.canary, "canary": applied.canary},
            "rollout": applied.rollout,
            "bound": {lane: version for lane, version in asdict(applied.bound).items() if version is not None},
            "models": asdict(applied.models),
            "registered": applied.registered,
            "time": applied.time,
            "who": applied.who,
            "why": applied.why,
        },
    )


def decode_split(data: bytes | None) -> AppliedSplit:
    """Raises DecodeError."""
    record = _SPLIT.decode(data)
    return AppliedSplit(
        raw=record["raw"],
        canary=record["weights"].get("canary", 0.0),
        epoch=record["epoch"],
        rollout=record["rollout"],
        bound=Versions(**record["bound"]),
        models=Models(**record["models"]),
        registered=record["registered"],
        time=record["time"],
        who=record["who"],
        why=record["why"],
    )


def encode_rollout_event(event: RolloutEvent) -> bytes:
    """The value of a record of R.rollout-events."""
    record = asdict(event)
    numbers = record["numbers"] and _renamed(record["numbers"], "e_value", "evidence")
    return _ROLLOUT_EVENT.encode(record | {"numbers": numbers})


def decode_rollout_event(data: bytes | None) -> RolloutEvent:
    """The value of a record of R.rollout-events, read. Raises DecodeError."""
    record = _ROLLOUT_EVENT.decode(data)
    numbers = record["numbers"] and Numbers(**_renamed(record["numbers"], "evidence", "e_value"))
    return RolloutEvent(**{**record, "numbers": numbers})


def encode_windowed_accuracy(window: WindowedAccuracy) -> bytes:
    """The value of a record of R.windowed-accuracy."""
    return _WINDOWED_ACCURACY.encode(asdict(window))


def encode_evidence(evidence: Evidence) -> bytes:
    started, in_force = evidence.rollout_started, evidence.epoch_in_force
    return _EVIDENCE.encode(
        {
            "by": evidence.by,
            "written_at": evidence.written_at,
            "partition": evidence.partition,
            "positions": evidence.positions and evidence.positions._asdict(),
            "tick": evidence.watermark,
            "outcomes": [outcome._asdict() for outcome in evidence.outcomes],
            "counts": [_count_to_record(count) for count in evidence.counts],
            "stable_bad_delays": [delay._asdict() for delay in evidence.stable_bad_delays],
            "silences": [silence._asdict() for silence in evidence.silences],
            "rollout_started": started
            and {
                "rollout": started.rollout,
                "stable_version": started.versions.stable,
                "canary_version": started.versions.canary,
                "ripe_age": started.ripe_age,
                "first_offset": started.first_offset,
                "policy": _renamed(asdict(started.policy), "tolerated_odds_ratio", "psi0"),
            },
            "epoch_in_force": in_force
            and {
                "epoch": in_force.epoch,
                "digest": in_force.digest,
                "rollout": in_force.rollout,
                "weights": dict(in_force.weights),
            },
        },
    )


def decode_evidence(data: bytes | None) -> Evidence:
    """Raises DecodeError."""
    record = _EVIDENCE.decode(data)
    started, in_force = record["rollout_started"], record["epoch_in_force"]
    return Evidence(
        by=record["by"],
        written_at=record["written_at"],
        partition=record["partition"],
        positions=Positions(**record["positions"]) if record["positions"] else None,
        watermark=record["tick"],
        outcomes=tuple(Outcome(**outcome) for outcome in record["outcomes"]),
        counts=tuple(_count_from_record(count) for count in record["counts"]),
        stable_bad_delays=tuple(StableBadDelay(**delay) for delay in record["stable_bad_delays"]),
        silences=tuple(Silence(**silence) for silence in record["silences"]),
        rollout_started=RolloutStarted(
            rollout=started["rollout"],
            versions=Versions(stable=started["stable_version"], canary=started["canary_version"]),
            ripe_age=started["ripe_age"],
            first_offset=started["first_offset"],
            policy=Policy(**_renamed(started["policy"], "psi0", "tolerated_odds_ratio")),
        )
        if started
        else None,
        epoch_in_force=EpochInForce(**in_force) if in_force else None,
    )


def decode_windowed_accuracy(data: bytes | None) -> WindowedAccuracy:
    """The value of a record of R.windowed-accuracy, read; of a key the newest counts. Raises DecodeError."""
    return WindowedAccuracy(**_WINDOWED_ACCURACY.decode(data))


def _renamed(record: Mapping[str, Any], name: str, new_name: str) -> dict[str, Any]:
    return {new_name if field == name else field: value for field, value in record.items()}


def _count_to_record(count: Count) -> dict[str, Any]:
    record = {field.name: getattr(count, field.name) for field in fields(Count)}
    return record | {"delays": _to_buckets(count.delays), "latencies": _to_buckets(count.latencies)}


def _count_from_record(record: Mapping[str, Any]) -> Count:
    histograms = {
        name: {bucket["bucket"]: bucket["count"] for bucket in record[name]} for name in ("delays", "latencies")
    }
    return Count(**{**record, **histograms})


def _to_buckets(histogram: Mapping[int, int]) -> list[dict[str, int]]:
    return [{"bucket": bucket, "count": count} for bucket, count in sorted(histogram.items()) if count]
