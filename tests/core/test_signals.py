"""The two-sided signals in the fold: they hold, never roll back, and a snapshot on the way changes nothing."""

from dataclasses import replace

import numpy as np
import pytest
from support.evidence import POLICY, Simulation
from xxhash import xxh3_64_intdigest

from stream_router.adapters.arrays import pack, unpack
from stream_router.core.deciding.fold import EvidenceFold
from stream_router.core.deciding.numbers import Status
from stream_router.core.evidence import LABELLING, PREDICTION

NAMES = ("blue", "green", "red", "white", "black")
HASHES = np.array([float(xxh3_64_intdigest(name.encode()) >> 11) for name in NAMES])
SIGNALS = ("attrition", "coverage", "revisions", "prediction_mix")


def folded(records, moved_after=()):
    fold, verdicts = EvidenceFold(POLICY, 2), []
    for offset, record in enumerate(records):
        verdicts += fold.on_record(offset, record).verdicts
        fold.windows.drop_changed()
        if offset in moved_after:
            fold = EvidenceFold.restored(POLICY, 2, unpack(pack(fold.snapshot())))
    return fold, verdicts


def changed(records, kind, lane, change):
    """With other columns for the lane's outcomes of the kind."""
    return [
        replace(
            record,
            outcomes=tuple(
                replace(one, **change(one)) if (one.key.metric, one.key.lane) == (kind, lane) else one
                for one in record.outcomes
            ),
        )
        for record in records
    ]


def simulated(**changes):
    alike = {"stable": 0.1, "canary": 0.1}
    return Simulation(seed=3, seconds=220, a_second=40, error=alike, kinds=(LABELLING, PREDICTION), **changes).records()


def in_texts(records):
    for lane in ("stable", "canary"):
        records = changed(records, PREDICTION, lane, lambda one: {"value": named(one.value)})
    told_with = next(number for number, record in enumerate(records) if record.outcomes)
    texts = dict(zip(HASHES.tolist(), NAMES, strict=True))
    return [replace(one, texts=texts) if number == told_with else one for number, one in enumerate(records)]


def named(values):
    return np.where(np.isnan(values), np.nan, HASHES[np.nan_to_num(values).astype(int)])


def test_lanes_that_are_alike_give_no_verdict():
    fold, verdicts = folded(simulated())
    assert verdicts == []
    told = {verdict.metric: verdict for verdict in fold.summary(1).verdicts}
    for name in SIGNALS:
        assert (told[name].status, told[name].role) == (Status.INCONCLUSIVE, "signal")
        assert told[name].numbers.blocks > 10
        assert "not shown to" in told[name].reason


def slower():
    return simulated(delays={("canary", True): 100, ("canary", False): 100})


def revised():
    return changed(simulated(), LABELLING, "canary", lambda one: {"bad": one.order % 4 == 0})


def otherwise():
    return in_texts(
        changed(simulated(), PREDICTION, "canary", lambda one: {"value": np.where(one.value == 4, 0, one.value)})
    )


CASES = {
    "slower": (slower, {"attrition": "labels come for fewer of the requests of canary v2 than of stable v1: "}),
    "coverage": (slower, {"coverage": "fewer of the requests of canary v2 than of stable v1 are labelled within the "}),
    "revised": (revised, {"revisions": "labels are revised more often for canary v2 than for stable v1: "}),
    "mix": (otherwise, {"prediction_mix": 'canary v2 predicts "b'}),
}


@pytest.mark.parametrize(("records", "said"), CASES.values(), ids=CASES)
def test_lanes_that_differ_hold_the_rollout(records, said):
    fold, verdicts = folded(records())
    found = {verdict.metric: verdict for verdict in verdicts}
    assert fold.decided == ()
    assert set(found) <= set(SIGNALS)
    for name, sentence in said.items():
        assert found[name].reason.startswith(sentence)
        assert found[name].numbers.e_value == found[name].numbers.threshold == pytest.approx(100)


@pytest.mark.parametrize("records", [slower, otherwise])
def test_a_move_through_a_snapshot_changes_no_verdict(records):
    records = records()
    fold, verdicts = folded(records)
    moved, as_moved = folded(records, moved_after=(0, 3, 40, 130, 300, 400, 420))
    assert as_moved == verdicts
    assert moved.summary(1) == fold.summary(1)
