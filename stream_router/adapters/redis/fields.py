"""Between the core's types and the fields of the hashes in Redis; empty stands for nothing."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any, Final, get_args

from stream_router.core.deciding.numbers import Status
from stream_router.core.rollout.phases import Phase
from stream_router.core.rollout.status import MetricStatus, RolloutStatus, TrialStatus
from stream_router.core.routing.applied_split import AppliedSplit, Models, Versions
from stream_router.core.routing.split_store import Latch, LatchState, Refusal, RefusalCode

UNKNOWN_IN_MODELS: Final = b"unknown_in_models"
"""A field of `:applied`: what the script found in `:models` that means nothing, such as a lane misspelt."""

_BELOW: Final = ("trial", "metrics")
_MOMENTS: Final = ("written_at", "verdict_from", "last_label_at")
_DURATIONS: Final = ("window", "label_horizon", "ripe_age")
_SENTENCES: Final = ("holds", "limits", "waits")
_METRIC: Final = "metric:"


def applied_to_fields(applied: AppliedSplit) -> dict[str, str | bytes]:
    """The fields of `:applied`, named as operators read them."""
    return {
        "raw": applied.raw,
        "digest": applied.digest,
        "epoch": str(applied.epoch),
        "canary": repr(applied.canary),
        "rollout": str(applied.rollout),
        "stable_version": applied.bound.stable or "",
        "canary_version": applied.bound.canary or "",
        "models_stable": applied.models.stable or "",
        "models_canary": applied.models.canary or "",
        "models_previous": applied.models.previous or "",
        "models_promoted": str(applied.models.promoted or ""),
        "time": str(applied.time),
        "who": applied.who,
        "why": applied.why,
    }


def applied_from_fields(fields: Mapping[bytes, bytes]) -> AppliedSplit:
    """Raises ValueError or LookupError for fields that the script did not write."""
    canary = float(fields[b"canary"])
    if not 0 <= canary <= 1:
        raise ValueError(f"canary is {canary}")
    models = {name.removeprefix(b"models_"): text for name, text in fields.items() if name.startswith(b"models_")}
    return AppliedSplit(
        raw=fields[b"raw"],
        canary=canary,
        epoch=int(fields[b"epoch"]),
        rollout=int(fields[b"rollout"]),
        bound=Versions(stable=_text(fields, b"stable_version"), canary=_text(fields, b"canary_version")),
        models=models_from_fields(models),
        time=int(fields[b"time"]),
        who=_text(fields, b"who") or "",
        why=_text(fields, b"why") or "",
    )


def models_from_fields(fields: Mapping[bytes, bytes]) -> Models:
    """The fields of `:models`. Raises ValueError if the promoted rollout is no number."""
    return Models(
        stable=_text(fields, b"stable"),
        canary=_text(fields, b"canary"),
        previous=_text(fields, b"previous"),
        promoted=int(fields[b"promoted"]) if fields.get(b"promoted") else None,
    )


def refusal_from_fields(fields: Mapping[bytes, bytes]) -> Refusal:
    """The fields of `:rejected`. Raises ValueError or LookupError for fields that the script did not write."""
    codes: dict[str, RefusalCode] = {code: code for code in get_args(RefusalCode)}
    return Refusal(
        type=fields[b"type"].decode(),
        raw=fields.get(b"raw", b""),
        code=codes[fields[b"code"].decode()],
        why=_text(fields, b"why") or "",
        time=int(fields[b"time"]),
    )


def latch_from_fields(fields: Mapping[bytes, bytes]) -> Latch:
    """The fields of `:latch`. Raises ValueError or LookupError for fields that the script did not write."""
    states: dict[str, LatchState] = {state: state for state in get_args(LatchState)}
    return Latch(
        rollout=int(fields[b"rollout"]),
        reason=_text(fields, b"reason") or "",
        time=int(fields[b"time"]),
        state=states[_text(fields, b"state") or "holds"],
        command=_text(fields, b"command") or "",
    )


def status_to_fields(status: RolloutStatus) -> dict[str, str]:
    """The fields of `:rollout`: durations in seconds, moments as people read them; an e-value is its `evidence`.

    For people one field `metric:<name>` a metric, with its sentence; for programs `metrics` is a JSON array.
    """
    fields: dict[str, Any] = {name: value for name, value in vars(status).items() if name not in _BELOW}
    fields |= {name: _moment(fields[name]) for name in _MOMENTS}
    fields |= {name: "" if fields[name] is None else f"{fields[name]:.15g}" for name in _DURATIONS}
    fields |= {name: "\n".join(getattr(status, name)) for name in _SENTENCES}
    if status.trial is not None:
        trial = asdict(status.trial)
        fields |= {"evidence": trial.pop("e_value"), **trial}
    fields |= {f"{_METRIC}{metric.name}": metric.sentence for metric in status.metrics}
    fields["metrics"] = json.dumps([asdict(metric) for metric in status.metrics])
    return {name: _shown(value) for name, value in fields.items()}


def status_from_fields(fields: Mapping[bytes, bytes]) -> RolloutStatus:
    """Also of hashes without `written_at`, as older controllers wrote them, whose durations are in milliseconds.

    Raises ValueError, TypeError or LookupError for fields that the controller did not write.
    """
    phases: dict[str, Phase] = {phase: phase for phase in get_args(Phase)}
    unit = 1.0 if b"written_at" in fields else 1000.0

    def moment(name: bytes) -> float | None:
        text = _text(fields, name)
        return datetime.fromisoformat(text).timestamp() if text else None

    return RolloutStatus(
        phase=phases[fields[b"phase"].decode()],
        rollout=int(fields[b"rollout"]),
        epoch=int(fields[b"epoch"]),
        canary_weight=float(fields[b"canary_weight"]),
        window=float(fields[b"window"]) / unit,
        label_horizon=float(fields[b"label_horizon"]) / unit,
        alpha=float(fields[b"alpha"]),
        says=_text(fields, b"says") or "",
        step=_count(fields, b"step"),
        steps=_count(fields, b"steps"),
        waits=tuple((_text(fields, b"waits") or "").splitlines()),
        written_at=moment(b"written_at"),
        ripe_age=_number(fields, b"ripe_age"),
        verdict_from=moment(b"verdict_from"),
        last_label_at=moment(b"last_label_at"),
        trial=_trial_from_fields(fields) if fields.get(b"verdict") else None,
        metrics=_metrics_from(fields.get(b"metrics", b"[]")),
        holds=tuple((_text(fields, b"holds") or "").splitlines()),
        limits=tuple((_text(fields, b"limits") or "").splitlines()),
        remark=_text(fields, b"remark"),
        never_started=_count(fields, b"never_started"),
        refused_watermarks=_count(fields, b"refused_watermarks"),
    )


def _trial_from_fields(fields: Mapping[bytes, bytes]) -> TrialStatus:
    return TrialStatus(
        verdict=Status(fields[b"verdict"].decode()),
        metric=fields[b"metric"].decode(),
        e_value=_number(fields, b"evidence"),
        threshold=_number(fields, b"threshold"),
        blocks=int(fields[b"blocks"]),
        stable_labels=int(fields[b"stable_labels"]),
        stable_bad=int(fields[b"stable_bad"]),
        canary_labels=int(fields[b"canary_labels"]),
        canary_bad=int(fields[b"canary_bad"]),
        unripe=int(fields[b"unripe"]),
        summary=_text(fields, b"summary") or "",
        waiting=_count(fields, b"waiting"),
        repeats=_count(fields, b"repeats"),
        not_ours=_count(fields, b"not_ours"),
        one_sided=_count(fields, b"one_sided"),
        unattributed=_count(fields, b"unattributed"),
    )


def _metrics_from(text: bytes) -> tuple[MetricStatus, ...]:
    metrics = json.loads(text)
    return tuple(MetricStatus(**{**metric, "verdict": Status(metric["verdict"])}) for metric in metrics)


def _shown(value: object) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else repr(value)


def _moment(seconds: float | None) -> str:
    """To the millisecond, in UTC."""
    return "" if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")


def _number(fields: Mapping[bytes, bytes], name: bytes) -> float | None:
    return float(fields[name]) if fields.get(name) else None


def _count(fields: Mapping[bytes, bytes], name: bytes) -> int:
    return int(fields.get(name, 0))


def _text(fields: Mapping[bytes, bytes], name: bytes) -> str | None:
    return fields.get(name, b"").decode(errors="backslashreplace") or None
