"""Predictions and labels of one input partition in columns, as the join reads them: row i of each is one record."""

from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np

from stream_router.core.evidence import Doubles, Flags, Integers
from stream_router.core.scoring.prediction import Value

LATEST: Final = 2**60
"""Times beyond it, in ms since the epoch, count as it, so that sums of two fit into 64 bits."""


class Origin(NamedTuple):
    """What a prediction says of where it comes from; epoch 0 and digest "" where another system made it."""

    epoch: int
    digest: str
    rollout: int
    lane: str
    model_version: str


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Predictions:
    """n predictions, offsets ascending: arrays of shape (n,), lists of n.

    `time` is the Kafka timestamp of the record, `entity` the request's key; all times are in milliseconds since the
    epoch, 0 where a record does not tell; the other fields and units are those of schemas/prediction. `value` is None
    where `is_error`.
    """

    offset: Integers
    time: Integers
    request_id: list[str]
    entity: list[bytes | None]
    origin: list[Origin]
    routed_at: Integers
    requested_at: Integers
    scored_at: Integers
    batch_index: Integers
    batch_size: Integers
    model_seconds: Doubles
    value: list[Value | None]
    is_error: Flags

    def __len__(self) -> int:
        return len(self.request_id)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Labels:
    """n labels, offsets ascending: arrays of shape (n,), lists of n. `time` is a record's Kafka timestamp in ms."""

    offset: Integers
    time: Integers
    request_id: list[str]
    value: list[Value]

    def __len__(self) -> int:
        return len(self.request_id)


def known_times(times: Integers, otherwise: Integers) -> Integers:
    """Times, and the others where a record does not tell: shape (n,) each, 0 to LATEST."""
    return np.minimum(np.where(times > 0, times, np.maximum(otherwise, 0)), LATEST)
