"""The split for people and for scripts."""

from typing import Any, Final

from stream_router.core.moment import utc
from stream_router.core.routing.applied_split import AppliedSplit
from stream_router.core.routing.router_status import RouterStatus
from stream_router.core.routing.split_store import Refusal

VERSION: Final = 1
"""Of the documents: raised when a field changes its meaning."""


def document(
    applied: AppliedSplit, routers: tuple[RouterStatus, ...], disobeying: tuple[str, ...], rejected: Refusal | None
) -> dict[str, Any]:
    """For `--output json`; time in milliseconds since 1970."""
    return {
        "version": VERSION,
        "split": {"stable": applied.split.stable, "canary": applied.split.canary},
        "epoch": applied.epoch,
        "rollout": applied.rollout,
        "digest": applied.digest,
        "time": applied.time,
        "who": applied.who,
        "why": applied.why,
        "routers": len(routers),
        "disobeying": list(disobeying),
        "refused": None if rejected is None else rejected.why,
    }


def lines(
    applied: AppliedSplit, routers: tuple[RouterStatus, ...], disobeying: tuple[str, ...], rejected: Refusal | None
) -> list[str]:
    """For people."""
    split = applied.split
    since = f" since {utc(applied.time)}, by {applied.who}" if applied.time else ""
    told = [
        f"stable {split.stable:.6g}, canary {split.canary:.6g}: epoch {applied.epoch}, rollout {applied.rollout}{since}"
    ]
    if rejected is not None:
        told.append(f"refused: {rejected.why}")
    if not routers:
        told.append("no router lives")
    elif disobeying:
        told.append(f"{len(disobeying)} of {len(routers)} routers do not obey it: {', '.join(disobeying)}")
    else:
        told.append(f"obeyed by {'the one router' if len(routers) == 1 else f'all {len(routers)} routers'}")
    return told
