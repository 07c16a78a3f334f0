"""The properties of the partitioner."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from xxhash import xxh3_64_intdigest

from stream_router.core.routing.partitioner import WeightedPartitioner, record_key
from stream_router.core.routing.split import ALL_STABLE, Split

KEYS = [str(number).encode() for number in range(200_000)]
PARTITIONER = WeightedPartitioner("flights", 3)
VECTORS = json.loads((Path(__file__).parents[2] / "docs" / "partitioner-vectors.json").read_text())


def split(canary: float) -> Split:
    return Split(stable=1 - canary, canary=canary)


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: f"{vector['route']}/{vector['rollout']}-{vector['key']}")
def test_the_published_vectors_hold(vector):
    partitioner = WeightedPartitioner(vector["route"], vector["rollout"])
    key = bytes.fromhex(vector["key"])
    assert {canary: partitioner.lane(key, split(float(canary))) for canary in vector["lanes"]} == vector["lanes"]
    assert f"{partitioner.seed:016x}" == vector["seed"]


def reference_lane(key: bytes, canary: float, route: str, rollout: int) -> str:
    """docs/partitioner.md, word for word, a key at a time."""

    def mix(z: int) -> int:
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
        z = (z ^ (z >> 27)) * 0x94D049BB133111EB % 2**64
        return z ^ (z >> 31)

    h = xxh3_64_intdigest(key, xxh3_64_intdigest(f"{route}/{rollout}".encode()))
    scores = {
        lane: -math.log(((mix(h ^ xxh3_64_intdigest(lane.encode())) >> 11) + 0.5) / 2**53) / weight
        for lane, weight in (("stable", 1 - canary), ("canary", canary))
        if weight > 0
    }
    return min(scores, key=scores.__getitem__)


def test_the_vectors_are_those_of_the_published_description():
    for vector in VECTORS:
        key, route, rollout = bytes.fromhex(vector["key"]), vector["route"], vector["rollout"]
        lanes = {canary: reference_lane(key, float(canary), route, rollout) for canary in vector["lanes"]}
        assert lanes == vector["lanes"]


@given(st.lists(st.binary(max_size=40), max_size=50), st.floats(0, 1), st.integers(0, 10**9))
def test_the_lane_of_a_key_does_not_depend_on_its_batch(keys, canary, rollout):
    partitioner = WeightedPartitioner("r", rollout)
    together = partitioner.is_canary(keys, split(canary))
    assert together.tolist() == [partitioner.lane(key, split(canary)) == "canary" for key in keys]


@given(st.lists(st.binary(max_size=40), max_size=50), st.floats(0, 1), st.floats(0, 1), st.integers(0, 10**9))
def test_raising_canary_never_moves_a_key_to_stable(keys, one, other, rollout):
    partitioner = WeightedPartitioner("r", rollout)
    less, more = (partitioner.is_canary(keys, split(canary)) for canary in sorted((one, other)))
    assert not (less & ~more).any()


@pytest.mark.parametrize("canary", [1e-4, 0.01, 0.1, 0.3, 0.5, 0.9, 0.999])
def test_realised_shares_lie_within_binomial_bounds(canary):
    share = PARTITIONER.is_canary(KEYS, split(canary)).mean()
    assert abs(share - canary) <= 4.5 * np.sqrt(canary * (1 - canary) / len(KEYS))


def test_zero_and_one_are_exact():
    assert not PARTITIONER.is_canary(KEYS, ALL_STABLE).any()
    assert PARTITIONER.is_canary(KEYS, split(1.0)).all()


def test_a_millionth_is_honoured():
    keys = [str(number).encode() for number in range(3_000_000)]
    assert 0 < PARTITIONER.is_canary(keys, split(1e-6)).sum() <= 12


def test_another_rollout_draws_other_keys():
    first, second = (WeightedPartitioner("flights", rollout).is_canary(KEYS, split(0.1)) for rollout in (3, 4))
    assert abs((first & second).mean() - 0.01) < 0.002


def test_an_empty_key_is_a_key_and_a_missing_one_is_the_records_place():
    assert record_key(b"", "t", 1, 2) == b""
    assert record_key(None, "t", 1, 2) == b"t-1-2"
