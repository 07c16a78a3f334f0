"""The weighted, sticky partitioner: weighted rendezvous hashing of the key over the lanes.

The same key, split and rollout give the same lane in every process and language; docs/partitioner.md has test vectors.
Raising canary's weight never moves a key from canary to stable.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
import numpy.typing as npt
from xxhash import xxh3_64_digest, xxh3_64_intdigest

from stream_router.core.lane import CANARY, STABLE, Lane
from stream_router.core.routing.split import Split

_LANE_HASHES: Final = {lane: np.uint64(xxh3_64_intdigest(lane.encode())) for lane in (STABLE, CANARY)}


@dataclass(frozen=True)
class WeightedPartitioner:
    """Assigns keys to the lanes of one rollout of a route; another rollout draws other keys."""

    route: str
    rollout: int

    @cached_property
    def seed(self) -> int:
        """xxh3_64 of, for example, "flights/3"."""
        return xxh3_64_intdigest(f"{self.route}/{self.rollout}".encode())

    def lane(self, key: bytes, split: Split) -> Lane:
        """The lane of one key: its record's key, else what `record_key` puts in its place."""
        return CANARY if self.is_canary([key], split)[0] else STABLE

    def is_canary(self, keys: Sequence[bytes], split: Split) -> npt.NDArray[np.bool_]:
        """For each of n keys, whether canary gets it. Shape (n,); a weight of 0 or 1 is exact.

        The lane with the smallest -ln(u) / weight wins (weighted rendezvous hashing: Schindelhauer & Schomaker 2005,
        logarithmic method), u a uniform number in (0, 1) drawn from key, rollout and lane.
        """
        if split.canary == 0.0 or split.stable == 0.0:
            return np.full(len(keys), split.canary > 0.0)
        seed = self.seed
        # As bytes, since numbers of 64 bits take twice as long to make and to read.
        digests = b"".join([xxh3_64_digest(key, seed) for key in keys])
        hashes = np.frombuffer(digests, ">u8").astype(np.uint64)
        with np.errstate(over="ignore"):  # infinity is the right score of a weight that is next to nothing
            stable = -np.log(_uniform(hashes ^ _LANE_HASHES[STABLE])) / split.stable
            canary = -np.log(_uniform(hashes ^ _LANE_HASHES[CANARY])) / split.canary
        return canary < stable


def record_key(key: bytes | None, topic: str, partition: int, offset: int) -> bytes:
    """What a record is assigned by: its key, also an empty one, else the text topic-partition-offset."""
    return key if key is not None else f"{topic}-{partition}-{offset}".encode()


def _uniform(z: npt.NDArray[np.uint64]) -> npt.NDArray[np.float64]:
    """splitmix64's finaliser (Steele, Lea & Flood 2014), its top 53 bits as a number in (0, 1). Shape kept."""
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z = z ^ (z >> np.uint64(31))
    return ((z >> np.uint64(11)).astype(np.float64) + 0.5) / 2.0**53
