"""At most one outcome of an entity: the same users come back, and their outcomes are not independent."""

from typing import Final

from stream_router.core.evidence import Outcome
from stream_router.core.lane import CANARY
from stream_router.core.policy import Policy

FEW: Final = 100
"""Fewer repeats in a row than this say nothing."""


class Entities:
    """The entities of one metric and rollout that have had their outcome.

    The first outcome of each entity counts in each `entity_period` of the windows' time, or in the whole rollout.
    Retention: the rollout's; 64-bit hashes, about 100 bytes an entity.
    """

    def __init__(self, policy: Policy) -> None:
        self._period = policy.entity_period
        self._seen: dict[int, set[int]] = {}
        self._canary = 0
        self._canary_repeats_in_a_row = 0
        self.repeats = 0

    def admit(self, outcome: Outcome) -> bool:
        """Whether this is the entity's first outcome in its period; it then is used."""
        period = outcome.window // self._period if self._period else 0
        seen = self._seen.setdefault(period, set())
        if outcome.entity in seen:
            self.repeats += 1
            self._canary_repeats_in_a_row += outcome.lane == CANARY
            return False
        seen.add(outcome.entity)
        if outcome.lane == CANARY:
            self._canary += 1
            self._canary_repeats_in_a_row = 0
        return True

    @property
    def used_up(self) -> bool:
        """Whether canary brings no new entities any more.

        True when at least as many outcomes in a row came from known canary entities as there are such: were one
        in K entities still to come, that would have a probability of about 1/e and less for more.
        """
        return self._canary_repeats_in_a_row >= max(FEW, self._canary)
