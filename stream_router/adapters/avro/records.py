"""Between the core's types and the Avro records of schemas/.

An e-value has a name of its own in records: `evidence`.
"""

from dataclasses import asdict, fields

from stream_router.adapters.avro.codec import Codec, renamed
from stream_router.core.deciding.numbers import Numbers
from stream_router.core.deciding.windows import WindowedAccuracy
from stream_router.core.rollout.rollout_event import RolloutEvent
from stream_router.core.routing.applied_split import AppliedSplit, Models, Versions
from stream_router.core.scoring.prediction import Prediction

_PREDICTION = Codec.of("prediction")
_SPLIT, _ROLLOUT_EVENT, _ROLLBACK = Codec.of("split"), Codec.of("rollout_event"), Codec.of("rollout_event", newest=1)
_WINDOWED_ACCURACY = Codec.of("windowed_accuracy")
_EVENT_FIELDS = tuple(field.name for field in fields(RolloutEvent))
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
    """The value of a record of R.rollout-events.

    A rollback is written as version 1 of the schema has it, so that routers of that version carry it out, too.
    """
    record = asdict(event)
    numbers = record["numbers"] and renamed(record["numbers"], "e_value", "evidence")
    codec = _ROLLBACK if event.role is None and event.policy_digest is None else _ROLLOUT_EVENT
    return codec.encode(record | {"numbers": numbers})


def decode_rollout_event(data: bytes | None) -> RolloutEvent:
    """The value of a record of R.rollout-events, read: of others than rollbacks and verdicts what all kinds tell.

    Raises DecodeError.
    """
    record = _ROLLOUT_EVENT.decode(data)
    numbers = record["numbers"] and Numbers(**renamed(record["numbers"], "evidence", "e_value"))
    return RolloutEvent(**{name: record[name] for name in _EVENT_FIELDS} | {"numbers": numbers})


def encode_windowed_accuracy(window: WindowedAccuracy) -> bytes:
    """The value of a record of R.windowed-accuracy."""
    return _WINDOWED_ACCURACY.encode(asdict(window))


def decode_windowed_accuracy(data: bytes | None) -> WindowedAccuracy:
    """The value of a record of R.windowed-accuracy, read; of a key the newest counts. Raises DecodeError."""
    return WindowedAccuracy(**_WINDOWED_ACCURACY.decode(data))
