"""Outcomes that may speak for a step forward: those of windows in which no label is missing any more."""

from collections.abc import Iterator, Mapping
from typing import Any

from stream_router.core.deciding.blocks import full_size
from stream_router.core.deciding.epochs import Epoch, Epochs, epoch_of
from stream_router.core.deciding.numbers import Counts
from stream_router.core.evidence import OutcomeKey, share_of_outcomes
from stream_router.core.lane import CANARY


class Maturing:
    """Counts of outcomes that have entered blocks, until their windows are older than the label horizon.

    Then they are summed by epoch, and bet on as soon as they would fill a block: on their total, never by lane or
    outcome. Retention: four numbers a window, epoch and partition, for the label horizon.
    """

    def __init__(self, epochs: Epochs, matures_after: int) -> None:
        self._epochs, self._matures_after = epochs, matures_after
        self._young: dict[int, dict[tuple[int, Epoch], Counts]] = {}
        """By partition: a watermark of one must not cost a look at the windows of all."""
        self._open: dict[Epoch, Counts] = {}

    def add(self, partition: int, key: OutcomeKey, outcomes: int, bad: int) -> None:
        """So many outcomes of the key, `bad` of them bad."""
        young, place = self._young.setdefault(partition, {}), (key.window, epoch_of(key))
        counts = Counts(0, 0, outcomes, bad) if key.lane == CANARY else Counts(outcomes, bad, 0, 0)
        young[place] = young.get(place, Counts()).plus(counts)

    def ripen(self, partition: int, watermark: int) -> None:
        """After a watermark of the partition."""
        until, young = watermark - self._matures_after, self._young.get(partition, {})
        for place in [place for place in young if place[0] <= until]:
            epoch = place[1]
            self._open[epoch] = self._open.get(epoch, Counts()).plus(young.pop(place))

    def close(self) -> Iterator[Counts]:
        """What is bet on at the end of a record, oldest epoch first."""
        for epoch in sorted(self._open):
            if self._open[epoch].total >= full_size(share_of_outcomes(self._epochs.canary_share(epoch))):
                yield self._open.pop(epoch)

    def state(self) -> dict[str, Any]:
        """For a snapshot."""
        return {
            "young": [
                [partition, window, *epoch, *counts]
                for partition, young in self._young.items()
                for (window, epoch), counts in young.items()
            ],
            "open": [[*epoch, *counts] for epoch, counts in self._open.items()],
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Raises LookupError, TypeError or ValueError where the state is none."""
        self._young = {}
        for partition, window, epoch, digest, *counts in state["young"]:
            self._young.setdefault(partition, {})[window, (epoch, digest)] = Counts(*counts)
        self._open = {(epoch, digest): Counts(*counts) for epoch, digest, *counts in state["open"]}
