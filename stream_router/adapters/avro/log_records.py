"""Between the records of R.rollout-events and Avro: each has the fields of an event, and a part of its own kind."""

import json
from dataclasses import asdict
from typing import Any, Final, get_args

from stream_router.adapters.avro.codec import Codec
from stream_router.adapters.avro.records import decode_rollout_event, encode_rollout_event
from stream_router.core.policy import Policy
from stream_router.core.rollout.log_records import Command, LogRecord, Refusal, Transition
from stream_router.core.rollout.phases import Phase
from stream_router.core.rollout.rollout_event import RolloutEvent
from stream_router.core.routing.proposal import Step
from stream_router.errors import DecodeError

_CODEC: Final = Codec.of("rollout_event")
_COMMON: Final = ("reason", "at")
_OF_TRANSITION: Final = (*_COMMON, "rollout", "epoch")


def encode_log_record(record: LogRecord) -> bytes:
    """The value of a record of R.rollout-events; a rollback is written so that older versions can read it."""
    match record:
        case RolloutEvent():
            return encode_rollout_event(record)
        case Command():
            own = _without(record, _COMMON) | {"policy": _policy_to_json(record.policy)}
            return _encoded("command", record.reason, record.at, command=own)
        case Transition():
            own = _without(record, _OF_TRANSITION) | {"policy": _policy_to_json(record.policy)}
            return _encoded(
                "transition", record.reason, record.at, transition=own, rollout=record.rollout, epoch=record.epoch
            )
        case Refusal():
            return _encoded("refusal", record.reason, record.at, refused=record.command, rollout=record.rollout)


def decode_log_record(data: bytes | None) -> LogRecord:
    """The value of a record of R.rollout-events, read.

    One of a kind that is not known is a RolloutEvent, which everybody passes over. Raises DecodeError.
    """
    record = _CODEC.decode(data)
    try:
        return _read(record) or decode_rollout_event(data)
    except (ValueError, LookupError, TypeError) as error:
        raise DecodeError(f"a {record['kind']} that cannot be read: {type(error).__name__}: {error}") from error


def _read(record: dict[str, Any]) -> Command | Transition | Refusal | None:
    common = {"reason": record["reason"], "at": record["decided_at"]}
    match record["kind"]:
        case "command":
            own = record["command"]
            return Command(**common, **own | {"policy": _policy_from_json(own["policy"])})
        case "transition":
            own = record["transition"]
            if unknown := {own["before"], own["after"]} - set(get_args(Phase)):
                raise ValueError(f"no phases: {', '.join(sorted(unknown))}")
            parts = {"policy": _policy_from_json(own["policy"]), "asks": own["asks"] and Step(**own["asks"])}
            return Transition(**common, rollout=record["rollout"], epoch=record["epoch"], **own | parts)
        case "refusal":
            return Refusal(**common, command=record["refused"], rollout=record["rollout"])
    return None


def _encoded(kind: str, reason: str, at: int, *, rollout: int = 0, epoch: int = 0, **own: Any) -> bytes:
    common = {"rollout": rollout, "epoch": epoch, "digest": "", "verdict": ""}
    return _CODEC.encode({"kind": kind, "reason": reason, "decided_at": at, **common, **own})


def _without(record: Command | Transition, names: tuple[str, ...]) -> dict[str, Any]:
    return {name: value for name, value in asdict(record).items() if name not in names}


def _policy_to_json(policy: Policy | None) -> str | None:
    return None if policy is None else json.dumps(asdict(policy), sort_keys=True, separators=(",", ":"))


def _policy_from_json(text: str | None) -> Policy | None:
    return None if text is None else Policy.of_fields(json.loads(text))
