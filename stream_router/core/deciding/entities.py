"""At most one outcome of an entity: the same users come back, and their outcomes are not independent."""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from stream_router.core.deciding.entity_set import EntitySet
from stream_router.core.evidence import Flags, Integers
from stream_router.core.policy import Policy

FEW: Final = 100
"""Fewer repeats in a row than this say nothing."""


class Entities:
    """The entities of one kind of outcomes and rollout that have had their outcome.

    The first outcome of each entity counts in each `entity_period` of the windows' time, or in the whole rollout. Where
    each request is assigned by itself, or `each_its_own`, an outcome is an entity of its own, and none is kept.
    Retention: the rollout's; 64-bit hashes, up to 32 bytes an entity.
    """

    def __init__(self, policy: Policy, *, each_its_own: bool = False) -> None:
        self._period = policy.entity_period
        self._each_its_own = each_its_own or policy.assign_by == "request"
        self._seen: dict[int, EntitySet] = {}
        self._canary = 0
        self._canary_repeats_in_a_row = 0
        self.repeats = 0

    def admit(self, entity: Integers, window: Integers, is_canary: Flags) -> Flags:
        """Which of n outcomes, in this order, are their entity's first in their period; the entities then are used."""
        if self._each_its_own:
            is_first = np.ones(len(entity), np.bool_)
        elif self._period:
            is_first, period = np.zeros(len(entity), np.bool_), window // self._period
            for number in np.unique(period).tolist():
                here = np.flatnonzero(period == number)
                is_first[here] = self._seen.setdefault(number, EntitySet()).add(entity[here])
        else:
            is_first = self._seen.setdefault(0, EntitySet()).add(entity)
        self.repeats += len(entity) - int(np.count_nonzero(is_first))
        firsts_of_canary = is_first[is_canary]
        fresh = np.flatnonzero(firsts_of_canary)
        if len(fresh):
            self._canary += len(fresh)
            self._canary_repeats_in_a_row = len(firsts_of_canary) - 1 - int(fresh[-1])
        else:
            self._canary_repeats_in_a_row += len(firsts_of_canary)
        return is_first

    @property
    def used_up(self) -> bool:
        """Whether canary brings no new entities any more.

        True when at least as many outcomes in a row came from known canary entities as there are such: were one
        in K entities still to come, that would have a probability of about 1/e and less for more.
        """
        return self._canary_repeats_in_a_row >= max(FEW, self._canary)

    def state(self) -> dict[str, Any]:
        """For a snapshot."""
        return {
            "seen": [[period, seen.hashes] for period, seen in self._seen.items()],
            "canary": self._canary,
            "canary_repeats_in_a_row": self._canary_repeats_in_a_row,
            "repeats": self.repeats,
        }

    @classmethod
    def restored(cls, policy: Policy, state: Mapping[str, Any], *, each_its_own: bool = False) -> "Entities":
        """Raises LookupError, TypeError or ValueError where the state is none."""
        entities = cls(policy, each_its_own=each_its_own)
        for period, hashes in state["seen"]:
            entities._seen[period] = EntitySet()
            entities._seen[period].add(hashes)
        entities._canary = state["canary"]
        entities._canary_repeats_in_a_row = state["canary_repeats_in_a_row"]
        entities.repeats = state["repeats"]
        return entities
