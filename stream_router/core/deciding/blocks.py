"""Blocks: what one step of the test is fed, and when a block closes."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Final

import numpy as np

from stream_router.core.deciding.epochs import Epoch, Epochs, epoch_of
from stream_router.core.deciding.rows import ROW, Rows, none, together
from stream_router.core.evidence import OutcomeKey, share_of_outcomes
from stream_router.core.lane import CANARY, LANES
from stream_router.core.policy import Policy

CANARY_OUTCOMES: Final = 10
"""A block is full when it is large enough for this many outcomes of canary on average."""


@dataclass(slots=True, kw_only=True, eq=False)
class Block:
    """Concurrent outcomes of one kind of both lanes under one split: rows of the type ROW, of shape (n,).

    metric: the kind; `opened_at` and `newest_label_at` in milliseconds, the latter of the newest outcome's time.
    """

    rollout: int
    metric: str
    epoch: int
    digest: str
    opened_at: int
    stable: Rows = field(default_factory=none)
    canary: Rows = field(default_factory=none)
    newest_label_at: int = 0

    @property
    def total(self) -> int:
        return len(self.stable) + len(self.canary)

    def add(self, lane: str, rows: Rows) -> None:
        """More outcomes of the lane, in the order in which they enter."""
        if lane == CANARY:
            self.canary = together((self.canary, rows))
        else:
            self.stable = together((self.stable, rows))
        if len(rows):
            self.newest_label_at = max(self.newest_label_at, int(rows["time"].max()))

    def __eq__(self, other: object) -> bool:
        """Whether all fields are equal, values bit for bit."""
        if not isinstance(other, Block):
            return NotImplemented
        return self._told() == other._told()

    __hash__ = None  # type: ignore[assignment]  # arrays have none

    def _told(self) -> tuple[object, ...]:
        rows = self.stable.tobytes(), self.canary.tobytes()
        return self.rollout, self.metric, self.epoch, self.digest, self.opened_at, self.newest_label_at, *rows


def full_size(canary_share: float) -> int:
    """Outcomes of both lanes at which a block is full: ceil(10 / share), of which canary has that share."""
    return math.ceil(CANARY_OUTCOMES / canary_share)


class Blocks:
    """The open blocks of one rollout and kind of outcomes, one an epoch.

    A block closes on its total or by time, never on one lane's count and never by outcome: a test whose blocks close
    on either is fed chosen evidence.
    """

    def __init__(self, policy: Policy, epochs: Epochs) -> None:
        self._policy = policy
        self._epochs = epochs
        self._open: dict[Epoch, Block] = {}
        self._last_window: dict[Epoch, int] = {}

    def expect(self, key: OutcomeKey) -> None:
        """The key's epoch has outcomes in this window, ripe or not."""
        epoch = epoch_of(key)
        self._last_window[epoch] = max(self._last_window.get(epoch, key.window), key.window)

    def add(self, key: OutcomeKey, rows: Rows, now: int) -> None:
        """Outcomes into the open block of the key's epoch, which must be known and give both lanes a share.

        They may be of earlier windows than the key's.
        """
        self.expect(key)
        block = self._open.get(epoch_of(key))
        if block is None:
            block = self._open[epoch_of(key)] = Block(
                rollout=key.rollout,
                metric=key.metric,
                epoch=key.epoch,
                digest=key.digest,
                opened_at=now,
            )
        block.add(key.lane, rows)

    def close(self, now: int | None = None) -> Iterator[Block]:
        """The blocks that close at the end of a record, oldest epoch first; `now` if the record is a watermark."""
        for epoch in sorted(self._open):
            if self._is_full(epoch) or (now is not None and self._is_old(epoch, now)):
                yield self._open.pop(epoch)

    @property
    def outcomes(self) -> int:
        """Outcomes in open blocks."""
        return sum(block.total for block in self._open.values())

    def state(self) -> dict[str, Any]:
        """For a snapshot."""
        return {
            "open": [{held.name: getattr(block, held.name) for held in fields(Block)} for block in self._open.values()],
            "last_window": [[*epoch, window] for epoch, window in self._last_window.items()],
        }

    @classmethod
    def restored(cls, policy: Policy, epochs: Epochs, state: Mapping[str, Any]) -> "Blocks":
        """Raises LookupError, TypeError or ValueError where the state is none."""
        blocks = cls(policy, epochs)
        for held in state["open"]:
            rows = {lane: np.asarray(held[lane], ROW) for lane in LANES}
            block = Block(**{**held, **rows})
            blocks._open[block.epoch, block.digest] = block
        blocks._last_window = {(epoch, digest): window for epoch, digest, window in state["last_window"]}
        return blocks

    def _is_full(self, epoch: Epoch) -> bool:
        return self._open[epoch].total >= full_size(share_of_outcomes(self._epochs.canary_share(epoch)))

    def _is_old(self, epoch: Epoch, now: int) -> bool:
        if now - self._open[epoch].opened_at >= self._policy.block_age:
            return True
        mature = self._last_window[epoch] + self._policy.matures_after <= now
        return mature and self._epochs.ended(epoch)
