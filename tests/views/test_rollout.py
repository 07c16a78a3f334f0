"""What is said of a rollout: the same for people and for scripts."""

import json

from stream_router.core.rollout.log_records import Refusal, Transition
from stream_router.core.rollout.rollout_event import RolloutEvent
from stream_router.core.rollout.rollout_state import RolloutState
from stream_router.core.rollout.status import RolloutStatus
from stream_router.core.routing.applied_split import AppliedSplit
from stream_router.views import rollout as view

STEP = Transition(
    rollout=3,
    before="Starting",
    after="Progressing",
    step=1,
    canary_before=0.0,
    canary=0.05,
    cause="step",
    reason="step 1 of 4, canary gets 5 %",
    epoch=7,
    at=1_700_000_000_000,
)
ROLLBACK = RolloutEvent(
    kind="rollback", rollout=3, epoch=8, digest="", verdict="abort", reason="abort by me", decided_at=1_700_000_001_000
)
REFUSAL = Refusal(command="x", rollout=3, reason="pause: this one is Aborted", at=1_700_000_002_000)


def test_a_history_is_in_order_with_what_was_refused():
    said = view.history([(4, STEP), (6, ROLLBACK), (8, REFUSAL)])
    assert [line.split("  ")[1] for line in said.lines] == [
        "rollout 3 Starting -> Progressing: step 1 of 4, canary gets 5 %",
        "rollout 3 rolled back: abort by me",
        "refused: pause: this one is Aborted",
    ]
    assert [(one["offset"], one["kind"]) for one in said.document["changes"]] == [
        (4, "transition"),
        (6, "rollback"),
        (8, "refusal"),
    ]
    json.dumps(said.document)


def test_no_history_is_told():
    assert view.history([]).lines == ("nothing has happened yet",)


def test_a_rollback_says_whether_a_router_has_obeyed():
    obeyed = AppliedSplit(epoch=9)
    assert view.rolled_back(ROLLBACK, obeyed).lines[1] == "canary gets no requests since epoch 9"
    assert "no router has told yet" in view.rolled_back(ROLLBACK, None).lines[1]
    assert view.rolled_back(ROLLBACK, None).document["epoch"] is None


def status(rollout: int) -> RolloutStatus:
    return RolloutStatus(
        phase="Progressing",
        rollout=rollout,
        epoch=7,
        canary_weight=0.05,
        window=60,
        label_horizon=60,
        alpha=0.05,
        waits=("40 of 100 mature labels of canary at 5 %",),
        holds=("few labels",),
    )


def test_what_a_rollout_waits_for_is_shown_as_the_controller_says_it_of_this_rollout():
    state = RolloutState().after_record(4, STEP)
    said = view.standing(state, status(3))
    assert said.lines[-2:] == ("waits: 40 of 100 mature labels of canary at 5 %", "waits: few labels")
    assert said.document["waits"] == ["40 of 100 mature labels of canary at 5 %"]
    assert view.standing(state, status(2)).document["waits"] == []
    assert view.standing(state, None).document["phase"] == "Progressing"
