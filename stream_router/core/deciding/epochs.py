"""The splits under which a rollout's requests were routed."""

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from stream_router.core.evidence import EpochInForce, OutcomeKey
from stream_router.core.lane import CANARY, LANES

Epoch = tuple[int, str]
"""Epoch and digest: two primaries may give one number to two splits."""


class Epochs:
    """Known splits of one rollout; grows with its control records."""

    def __init__(self) -> None:
        self._known: dict[Epoch, EpochInForce] = {}
        self._newest = 0

    def add(self, in_force: EpochInForce) -> None:
        """A split came into force; a second record of the same changes nothing."""
        self._known.setdefault((in_force.epoch, in_force.digest), in_force)
        self._newest = max(self._newest, in_force.epoch)

    def __len__(self) -> int:
        return len(self._known)

    def __iter__(self) -> Iterator[Epoch]:
        return iter(self._known)

    def __contains__(self, epoch: Epoch) -> bool:
        return epoch in self._known

    def has_both_lanes(self, epoch: Epoch) -> bool:
        """Whether each lane had a share, so that outcomes of the two were concurrent. Raises KeyError if unknown."""
        weights = self._known[epoch].weights
        return all(weights.get(lane, 0.0) > 0 for lane in LANES)

    def canary_share(self, epoch: Epoch) -> float:
        """Raises KeyError for an epoch that is not known."""
        return self._known[epoch].weights[CANARY]

    @property
    def newest(self) -> Epoch | None:
        """The latest of those known."""
        return max(self._known, default=None)

    def ended(self, epoch: Epoch) -> bool:
        """Whether a later epoch of the rollout has come into force."""
        return self._newest > epoch[0]

    def state(self) -> list[dict[str, Any]]:
        """For a snapshot."""
        return [{**asdict(known), "weights": dict(known.weights)} for known in self._known.values()]

    @classmethod
    def restored(cls, state: list[dict[str, Any]]) -> "Epochs":
        """Raises LookupError or TypeError where the state is none."""
        epochs = cls()
        for fields in state:
            epochs.add(EpochInForce(**fields))
        return epochs


def epoch_of(key: OutcomeKey) -> Epoch:
    return key.epoch, key.digest
