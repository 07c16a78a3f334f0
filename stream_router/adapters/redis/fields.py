"""Between the core's types and the fields of the hashes in Redis; empty stands for nothing."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Final, get_args

from stream_router.core.deciding.numbers import Status
from stream_router.core.rollout.phases import Phase
from stream_router.core.rollout.status import RolloutStatus, TrialStatus
from stream_router.core.routing.applied_split import AppliedSplit, Models, Versions
from stream_router.core.routing.split_store import Latch, LatchState, Refusal, RefusalCode

UNKNOWN_IN_MODELS: Final = b"unknown_in_models"
"""A field of `:applied`: what the script found in `:models` that means nothing, such as a lane misspelt."""


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
    """The fields of `:rollout`; an e-value is its `evidence`."""
    route, trial = asdict(status), {} if status.trial is None else asdict(status.trial)
    del route["trial"]
    if trial:
        trial["evidence"] = trial.pop("e_value")
    fields = route | trial | {"remark": status.remark or ""}
    return {name: value if isinstance(value, str) else repr(value) for name, value in fields.items()}


def status_from_fields(fields: Mapping[bytes, bytes]) -> RolloutStatus:
    """Raises ValueError or LookupError for fields that the controller did not write."""
    phases: dict[str, Phase] = {phase: phase for phase in get_args(Phase)}

    def integer(name: bytes) -> int:
        return int(fields[name])

    def count(name: bytes) -> int:
        return int(fields.get(name, 0))

    return RolloutStatus(
        phase=phases[fields[b"phase"].decode()],
        rollout=integer(b"rollout"),
        epoch=integer(b"epoch"),
        canary_weight=float(fields[b"canary_weight"]),
        window=integer(b"window"),
        label_horizon=integer(b"label_horizon"),
        alpha=float(fields[b"alpha"]),
        trial=TrialStatus(
            verdict=Status(fields[b"verdict"].decode()),
            metric=fields[b"metric"].decode(),
            e_value=float(fields[b"evidence"]),
            threshold=float(fields[b"threshold"]),
            blocks=integer(b"blocks"),
            stable_labels=integer(b"stable_labels"),
            stable_bad=integer(b"stable_bad"),
            canary_labels=integer(b"canary_labels"),
            canary_bad=integer(b"canary_bad"),
            unripe=integer(b"unripe"),
            summary=_text(fields, b"summary") or "",
            waiting=count(b"waiting"),
            repeats=count(b"repeats"),
            not_ours=count(b"not_ours"),
            one_sided=count(b"one_sided"),
            unattributed=count(b"unattributed"),
        )
        if fields.get(b"verdict")
        else None,
        remark=_text(fields, b"remark"),
        never_started=count(b"never_started"),
        refused_watermarks=count(b"refused_watermarks"),
    )


def _text(fields: Mapping[bytes, bytes], name: bytes) -> str | None:
    return fields.get(name, b"").decode(errors="backslashreplace") or None
