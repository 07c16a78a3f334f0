"""The outcomes of one kind of one rollout, from their arrival to closed blocks."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from stream_router.core.deciding.blocks import Block, Blocks
from stream_router.core.deciding.entities import Entities
from stream_router.core.deciding.epochs import Epochs, epoch_of
from stream_router.core.deciding.maturing import Maturing
from stream_router.core.deciding.metrics import Metric
from stream_router.core.deciding.numbers import Counts
from stream_router.core.deciding.rows import Batch, Pool, together
from stream_router.core.deciding.seconds import Seconds
from stream_router.core.evidence import RolloutStarted
from stream_router.core.lane import CANARY


@dataclass(frozen=True, slots=True, kw_only=True)
class KindSummary:
    """Outcomes of a kind that were not bet on: unripe, in_open_blocks, and repeats, of entities that had had one."""

    unripe: int
    in_open_blocks: int
    repeats: int
    entities_used_up: bool


def ripens_after(started: RolloutStarted, metric: Metric) -> int:
    """Milliseconds from a window's start after which the outcomes that the metric reads may enter blocks.

    Those of predictions are complete by the deadline: what is scored later gives none.
    """
    policy = started.policy
    after = {
        "prediction": policy.prediction_deadline,
        "label": started.ripe_age,
        "maturity": policy.label_horizon,
    }
    return policy.window + after[metric.known]


class KindTrial:
    """Takes outcomes of the rollout whose epoch is known and gave both lanes a share.

    An outcome is ripe `ripe_after` milliseconds after its window's start, by the newest watermark of its own partition;
    the caller keeps `watermarks`. `metric` is any that reads the kind.
    """

    def __init__(self, started: RolloutStarted, metric: Metric, epochs: Epochs, watermarks: Mapping[int, int]) -> None:
        self.ripe_after: Final = ripens_after(started, metric)
        self._watermarks = watermarks
        self._each_its_own: Final = metric.unit == "micro-batch"
        self._unripe = Pool()
        self._seconds = Seconds(started.policy) if metric.unit == "second" else None
        self._entities = Entities(started.policy, each_its_own=self._each_its_own)
        self._blocks = Blocks(started.policy, epochs)
        self._maturing = Maturing(epochs, started.policy.matures_after) if metric.known == "label" else None

    def take(self, arrived: Sequence[Batch], *, in_request_order: bool = False) -> None:
        """Outcomes that came: they wait until their window is ripe, or enter their block at once where it is.

        They are taken as they come, or by window and then by the hash of the request id: never by the arrival of labels
        that waited together, which may depend on the outcome.
        """
        entering = []
        for batch in arrived:
            watermark = self._watermarks.get(batch.partition)
            if watermark is not None and batch.key.window + self.ripe_after <= watermark:
                entering.append(batch)
            else:
                self._blocks.expect(batch.key)
                self._unripe.add(batch)
        self._enter(entering, in_request_order=in_request_order)

    def ripen(self, partition: int) -> None:
        """After a watermark of the partition."""
        ripe = self._unripe.take_until(partition, self._watermarks[partition] - self.ripe_after)
        self._enter(ripe, in_request_order=True)
        if self._maturing:
            self._maturing.ripen(partition, self._watermarks[partition])

    def close_blocks(self, *, at_watermark: bool) -> Iterator[Block]:
        """At the end of a record."""
        return self._blocks.close(max(self._watermarks.values()) if at_watermark else None)

    @property
    def waits_for_maturity(self) -> bool:
        """Whether outcomes may enter before all of their window are known; else each block may speak for canary."""
        return self._maturing is not None

    def close_mature(self) -> Iterator[Counts]:
        """At the end of a record: what has matured since, of kinds whose outcomes wait for that."""
        return self._maturing.close() if self._maturing else iter(())

    @property
    def entities_used_up(self) -> bool:
        return self._entities.used_up

    @property
    def summary(self) -> KindSummary:
        return KindSummary(
            unripe=len(self._unripe),
            in_open_blocks=self._blocks.outcomes,
            repeats=self._entities.repeats,
            entities_used_up=self._entities.used_up,
        )

    def state(self) -> dict[str, Any]:
        """For a snapshot, without epochs and watermarks."""
        return {
            "unripe": self._unripe.state(),
            "entities": self._entities.state(),
            "blocks": self._blocks.state(),
            "maturing": self._maturing and self._maturing.state(),
            "seconds": self._seconds and self._seconds.state(),
        }

    def restore(self, started: RolloutStarted, epochs: Epochs, state: Mapping[str, Any]) -> None:
        """Raises LookupError, TypeError or ValueError where the state is none."""
        self._unripe = Pool.restored(state["unripe"])
        self._entities = Entities.restored(started.policy, state["entities"], each_its_own=self._each_its_own)
        self._blocks = Blocks.restored(started.policy, epochs, state["blocks"])
        if self._maturing:
            self._maturing.restore(state["maturing"])
        if self._seconds:
            self._seconds.restore(state["seconds"])

    def _enter(self, batches: Sequence[Batch], *, in_request_order: bool) -> None:
        """Into the blocks, the first of each entity, or of those that are the first of their second."""
        batches = [batch for batch in batches if len(batch.rows)]
        if not batches:
            return
        lengths = [len(batch.rows) for batch in batches]
        rows = together([batch.rows for batch in batches])
        window = np.repeat([batch.key.window for batch in batches], lengths)
        is_canary = np.repeat([batch.key.lane == CANARY for batch in batches], lengths)
        order = np.lexsort((rows["order"], window)) if in_request_order else np.arange(len(rows))
        if self._seconds:
            order = order[self._seconds.admit(rows["time"][order], is_canary[order], min(self._watermarks.values()))]
        entering = order[self._entities.admit(rows["entity"][order], window[order], is_canary[order])]
        if self._maturing:
            of = np.repeat(np.arange(len(batches)), lengths)[entering]
            entered = np.bincount(of, minlength=len(batches)).tolist()
            bad = np.bincount(of[rows["bad"][entering]], minlength=len(batches)).tolist()
            for batch, outcomes, bad_ones in zip(batches, entered, bad, strict=True):
                self._maturing.add(batch.partition, batch.key, outcomes, bad_ones)
        places: dict[tuple[object, ...], list[int]] = {}
        for number, batch in enumerate(batches):
            places.setdefault((epoch_of(batch.key), batch.key.lane), []).append(number)
        number_of = np.empty(len(batches), np.int64)
        for place, numbers in enumerate(places.values()):
            number_of[numbers] = place
        place_of = np.repeat(number_of, lengths)[entering]
        now = max(self._watermarks.values())
        for place, numbers in enumerate(places.values()):
            chosen = entering[place_of == place]
            if len(chosen):
                newest = int(window[chosen].max())
                key = batches[numbers[0]].key._replace(window=newest)
                self._blocks.add(key, rows[chosen], now)
