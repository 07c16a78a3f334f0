"""What the demo claims is counted, not assumed."""

from dataclasses import replace

import pytest
from support.status import STATUS, TRIAL

from stream_router.core.deciding.windows import WindowedAccuracy
from stream_router.core.rollout.rollout_event import RolloutEvent
from stream_router.core.routing.applied_split import AppliedSplit, Models
from stream_router.core.routing.header import Routing
from stream_router.core.routing.split_store import Refusal
from stream_router.core.scoring.prediction import Prediction
from stream_router.demo.ledger import Ledger
from stream_router.demo.report import waits_for_rollback, waits_to_begin, why_not

CANARY_SPLIT = AppliedSplit(raw=b'{"stable": 0.9, "canary": 0.1}', canary=0.1, epoch=1, rollout=1)
ROLLED_BACK = AppliedSplit(epoch=2, rollout=1)
EVENT = RolloutEvent(
    kind="rollback",
    rollout=1,
    epoch=1,
    digest="",
    verdict="unhealthy",
    reason="bad",
    decided_at=5_000,
    deciding_label_at=4_000,
)


def routing(epoch, routed_at):
    return Routing(epoch, "0" * 12, 1, routed_at)


def prediction(lane, **changes):
    fields = {
        "request_id": "r", "key": None, "lane": lane, "rollout": 1, "epoch": 1, "digest": "", "routed_at": 0,
        "requested_at": 0, "scored_at": 0, "model_version": "v", "model_digest": None, "batch_id": "", "batch_index": 0,
        "batch_size": 1, "model_seconds": 0.0, "value": True, "error": None,
    }  # fmt: skip
    return Prediction(**fields | changes)


def window(start, lane, labelled, correct, rollout=1):
    return WindowedAccuracy(
        window_start=start, window_end=start + 1000, rollout=rollout, lane=lane, model_version="v", predicted=labelled,
        errors=0, late=0, labelled=labelled, correct=correct, revised=0, error_rate=None, accuracy=None, coverage=None,
        label_delay_p50=None, label_delay_p98=None, latency_p50=None, latency_p99=None, model_latency_p50=None,
        model_latency_p99=None,
    )  # fmt: skip


@pytest.fixture
def ledger():
    """Two requests before the rollout, four during it (one to canary), three after the rollback."""
    ledger = Ledger()
    for applied in (CANARY_SPLIT, ROLLED_BACK):
        ledger.on_split(applied)
    for epoch, lane, routed_at in [
        (0, "stable", 1_000), (0, "stable", 1_001),
        (1, "stable", 2_000), (1, "canary", 2_000), (1, "stable", 2_001), (1, "stable", 2_002),
        (2, "stable", 6_500), (2, "stable", 6_400), (2, "stable", 6_600),
    ]:  # fmt: skip
        ledger.on_routed(lane, routing(epoch, routed_at))
    ledger.on_prediction("canary", prediction("canary"))
    return ledger


def test_no_rollback_before_its_event(ledger):
    assert ledger.rollback is None


def test_no_rollback_before_a_request_was_routed_by_it(ledger):
    ledger.on_event(EVENT)
    ledger.first_routed_at.pop(2)
    assert ledger.rollback is None


def test_the_rollback_counts_what_it_spared(ledger):
    ledger.on_event(EVENT)
    rollback = ledger.rollback
    assert rollback.applied == ROLLED_BACK
    assert rollback.answered == 1
    assert rollback.without_canary == 4
    assert rollback.since == {"stable": 3, "canary": 0}


def test_it_took_until_the_first_request_routed_by_it(ledger):
    ledger.on_event(EVENT)
    assert ledger.rollback.seconds == 2.4
    assert ledger.rollback.seconds_from_verdict == 1.4


def test_a_request_to_canary_after_the_rollback_is_seen(ledger):
    ledger.on_event(EVENT)
    ledger.on_routed("canary", routing(2, 7_000))
    assert ledger.rollback.since == {"stable": 3, "canary": 1}


def test_only_the_first_rollback_counts(ledger):
    ledger.on_event(EVENT)
    ledger.on_event(RolloutEvent(kind="rollback", rollout=2, epoch=9, digest="", verdict="", reason="", decided_at=9))
    assert ledger.rollback.event == EVENT


def test_a_corrected_window_replaces_the_earlier_one(ledger):
    ledger.on_window(window(0, "stable", 10, 9))
    ledger.on_window(window(0, "stable", 12, 10))
    ledger.on_window(window(1000, "stable", 8, 8))
    ledger.on_window(window(0, "canary", 5, 1))
    assert (ledger.lane("stable").labelled, ledger.lane("stable").correct) == (20, 18)
    assert ledger.lane("stable").accuracy == 0.9
    assert ledger.lane("canary").accuracy == 0.2


def test_no_labels_no_accuracy(ledger):
    assert ledger.lane("canary").accuracy is None
    assert ledger.lane("canary").interval == (0, 1)


REFUSAL = Refusal(type="string", raw=b"", code="latched", why="latch 1 holds", time=0)


def test_why_names_the_first_missing_link():
    ledger = Ledger()
    assert why_not(ledger, None, REFUSAL) == "the split was refused: latch 1 holds"
    assert "no router" in why_not(ledger, None, None)
    ledger.on_split(CANARY_SPLIT)
    assert "none was answered" in why_not(ledger, None, None)
    ledger.on_prediction("canary", prediction("canary", value=None, error="boom"))
    assert "1 are errors" in why_not(ledger, None, None)
    ledger.on_prediction("canary", prediction("canary"))
    assert "none of canary's 1 predictions has met its label" in why_not(ledger, None, None)
    ledger.on_window(window(0, "canary", 5, 1))
    status = replace(STATUS, trial=replace(TRIAL, e_value=3.2, threshold=20.0, canary_labels=5))
    assert "e-value 3.20 of 20 against canary after 5 canary labels" in why_not(ledger, status, None)
    ledger.on_event(EVENT)
    assert "was ordered (bad), but no request" in why_not(ledger, None, None)


def test_each_wait_before_the_canary_is_for_the_next_link():
    ledger, versions = Ledger(), Models(stable="6", canary="7")
    assert "first request to be routed" in waits_to_begin(ledger, versions, 1_000)
    ledger.on_routed("stable", routing(0, 1_000))
    assert "stable's model to be loaded" in waits_to_begin(ledger, versions, 1_000)
    ledger.on_prediction("stable", prediction("stable"))
    assert "the first labels" in waits_to_begin(ledger, versions, 1_000)
    ledger.on_window(window(0, "stable", 5, 4))
    assert "both scoring jobs" in waits_to_begin(ledger, Models(stable="6"), 1_000)
    assert "1,000 labels of stable" in waits_to_begin(ledger, versions, 1_000)


def test_each_wait_before_the_rollback_is_for_the_next_link():
    ledger, no_block = Ledger(), replace(STATUS, trial=replace(TRIAL, blocks=0, canary_labels=0))
    assert waits_for_rollback(ledger, None) == "the router to obey the split"
    ledger.on_split(CANARY_SPLIT)
    assert waits_for_rollback(ledger, None) == "canary's first answers"
    ledger.on_prediction("canary", prediction("canary"))
    for status in (None, STATUS, no_block):
        assert "the first block" in waits_for_rollback(ledger, status)
    assert waits_for_rollback(ledger, replace(STATUS, trial=TRIAL)) is None
