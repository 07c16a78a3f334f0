"""Between the core's types and the fields of the hashes in Redis; empty stands for nothing."""

from collections.abc import Mapping
from typing import get_args

from stream_router.core.routing.law import Law, Models, Versions
from stream_router.core.routing.law_store import Refusal, RefusalCode


def law_to_fields(law: Law) -> dict[str, str | bytes]:
    """The fields of `:applied`, named as operators read them."""
    return {
        "raw": law.raw,
        "digest": law.digest,
        "epoch": str(law.epoch),
        "canary": repr(law.canary),
        "rollout": str(law.rollout),
        "stable_version": law.bound.stable or "",
        "canary_version": law.bound.canary or "",
        "models_stable": law.models.stable or "",
        "models_canary": law.models.canary or "",
        "models_previous": law.models.previous or "",
        "models_promoted": str(law.models.promoted or ""),
        "time": str(law.time),
        "who": law.who,
        "why": law.why,
    }


def law_from_fields(fields: Mapping[bytes, bytes]) -> Law:
    """Raises ValueError or LookupError for fields that the script did not write."""
    canary = float(fields[b"canary"])
    if not 0 <= canary <= 1:
        raise ValueError(f"canary is {canary}")
    models = {name.removeprefix(b"models_"): text for name, text in fields.items() if name.startswith(b"models_")}
    return Law(
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


def _text(fields: Mapping[bytes, bytes], name: bytes) -> str | None:
    return fields.get(name, b"").decode(errors="backslashreplace") or None
