"""At most one outcome of a lane and second: a job that fails does so for a while, so its errors are not independent."""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from stream_router.core.deciding.entity_set import EntitySet
from stream_router.core.evidence import Flags, Integers
from stream_router.core.policy import Policy

_HOUR: Final = 3_600
"""Seconds that are kept and forgotten together."""


class Seconds:
    """The seconds of each lane that have had their outcome.

    Retention: until no outcome of them can come any more, by the least watermark of all partitions; up to 32 bytes a
    lane and second.
    """

    def __init__(self, policy: Policy) -> None:
        self._kept_for = policy.kept_for
        self._seen: dict[int, EntitySet] = {}

    def admit(self, time: Integers, is_canary: Flags, watermark: int) -> Flags:
        """Which of n outcomes, in this order, are the first of their lane and second; times in ms since the epoch."""
        second = time // 1_000
        hour, place = second // _HOUR, 2 * second + is_canary
        is_first = np.zeros(len(time), np.bool_)
        for number in np.unique(hour).tolist():
            here = np.flatnonzero(hour == number)
            is_first[here] = self._seen.setdefault(number, EntitySet()).add(place[here])
        over = (watermark - self._kept_for) // 1_000 // _HOUR
        for number in [number for number in self._seen if number < over]:
            del self._seen[number]
        return is_first

    def state(self) -> dict[str, Any]:
        """For a snapshot."""
        return {"seen": [[hour, seen.hashes] for hour, seen in self._seen.items()]}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Raises LookupError, TypeError or ValueError where the state is none."""
        self._seen = {}
        for hour, places in state["seen"]:
            self._seen[hour] = EntitySet()
            self._seen[hour].add(places)
