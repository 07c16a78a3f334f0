"""The split by hand: as it is, and a change that is waited for."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from stream_router.adapters.clock import now_ms
from stream_router.core.routing.applied_split import INITIAL_SPLIT, AppliedSplit, moved_share
from stream_router.core.routing.router_status import RouterStatus, RouterStore, disobeying
from stream_router.core.routing.split import digest_of, parse_split
from stream_router.core.routing.split_store import Refusal, SplitStore
from stream_router.errors import NoAnswerError, SplitError

_LOOK_EVERY: Final = 0.05
"""Seconds between two looks at what has come of a change."""


@dataclass(frozen=True, kw_only=True)
class SplitState:
    """applied: in force. routers: those that live. disobeying: those of them that route by another split. rejected: the
    last document that was refused, where it still stands in `:split`.
    """

    applied: AppliedSplit
    routers: tuple[RouterStatus, ...]
    disobeying: tuple[str, ...]
    rejected: Refusal | None


@dataclass(frozen=True, kw_only=True)
class SplitChange:
    """moved: which part of all keys changed its lane, 0..1."""

    before: AppliedSplit
    after: SplitState
    moved: float


def split_state(splits: SplitStore, routers: RouterStore) -> SplitState:
    """As of now. Raises UnreachableError."""
    applied, now, refusal = splits.applied() or INITIAL_SPLIT, now_ms(), splits.rejected()
    live = tuple(router for router in routers.routers() if router.is_live(now))
    stands = refusal is not None and splits.look().raw == refusal.raw and refusal.raw != applied.raw
    return SplitState(
        applied=applied,
        routers=live,
        disobeying=disobeying(live, applied, now),
        rejected=refusal if stands else None,
    )


def change_split(
    splits: SplitStore,
    routers: RouterStore,
    raw: bytes,
    timeout: float,
    sleep: Callable[[float], object] = time.sleep,
) -> SplitChange:
    """Set `:split`, and return once every live router routes by it.

    Raises SplitError for a document that cannot be in force, before it is set, or that the script refuses, as under a
    latch; NoAnswerError where that takes longer than `timeout` seconds; UnreachableError.
    """
    parse_split(raw)
    before, deadline = splits.applied() or INITIAL_SPLIT, time.monotonic() + timeout
    refused_before = splits.rejected()
    splits.propose(raw)
    while True:
        state = split_state(splits, routers)
        if state.applied.digest == digest_of(raw) and state.routers and not state.disobeying:
            return SplitChange(before=before, after=state, moved=moved_share(before, state.applied))
        rejected = splits.rejected()
        if rejected is not None and rejected != refused_before and rejected.raw == raw:
            raise SplitError(rejected.why)
        if time.monotonic() >= deadline:
            raise NoAnswerError(f"the split is set, and after {timeout:g} s {_missing(state, raw)}")
        sleep(_LOOK_EVERY)


def _missing(state: SplitState, raw: bytes) -> str:
    if not state.routers:
        return "no router lives that could obey it: start 'stream-router route'"
    if state.applied.digest != digest_of(raw):
        return "no router has put it in force: look at their logs"
    return f"it is not obeyed yet by {', '.join(state.disobeying)}"
