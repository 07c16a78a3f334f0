"""Records of R.rollout-events: each kind is read as it was written, and nobody falls over one that he does not know."""

import json
from dataclasses import replace
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.avro import written_by

from stream_router.adapters.avro.codec import Codec
from stream_router.adapters.avro.log_records import decode_log_record, encode_log_record
from stream_router.adapters.avro.records import decode_rollout_event
from stream_router.core.policy import Policy
from stream_router.core.policy import Step as PolicyStep
from stream_router.core.rollout.log_records import Cause, Command, Refusal, Transition, Verb
from stream_router.core.rollout.phases import Phase
from stream_router.core.rollout.rollout_event import ROLLBACK, RolloutEvent, persons_rollback
from stream_router.core.routing.applied_split import AppliedSplit, Versions
from stream_router.core.routing.proposal import Step
from stream_router.errors import DecodeError

long, text, share = st.integers(0, 2**62), st.text(max_size=5), st.sampled_from([0.0, 0.01, 0.25, 1.0])
policies = st.none() | st.builds(
    Policy,
    alpha=st.floats(0.01, 0.5),
    max_duration=st.none() | long,
    steps=st.lists(st.builds(PolicyStep, weight=share, until=st.sampled_from([None, "healthy"])), max_size=2).map(
        tuple
    ),
)
commands = st.builds(
    Command,
    id=text, verb=st.sampled_from(get_args(Verb)), by=text, reason=text, at=long, seen=st.integers(-1, 9),
    expires_at=long, version=st.none() | text, policy=policies, full=st.booleans(),
)  # fmt: skip
steps = st.one_of(
    st.none(),
    st.builds(Step, on=long, canary=share, rollout=st.none() | long),
    st.builds(Step, on=long, promote=st.just(True)),
    st.builds(Step, on=long, rollout=st.integers(1, 9), start=st.text(min_size=1, max_size=3)),
)
phases = st.sampled_from(get_args(Phase))
transitions = st.builds(
    Transition,
    rollout=long, before=phases, after=phases, step=st.integers(0, 9), canary_before=share, canary=share,
    cause=st.sampled_from(get_args(Cause)), reason=text, epoch=long, at=long, command=st.none() | text, asks=steps,
    policy=policies,
)  # fmt: skip
refusals = st.builds(Refusal, command=text, rollout=long, reason=text, at=long)
APPLIED = AppliedSplit(epoch=7, rollout=3, canary=0.1, bound=Versions("6", "7"))


@given(st.one_of(commands, transitions, refusals))
def test_a_record_is_read_as_it_was_written(record):
    assert decode_log_record(encode_log_record(record)) == record


@given(st.one_of(commands, transitions, refusals))
def test_who_knows_rollbacks_and_verdicts_alone_passes_over_the_others(record):
    event = decode_rollout_event(encode_log_record(record))
    assert event.kind in ("command", "transition", "refusal")
    assert event.reason == record.reason


def test_a_kind_of_a_later_version_is_an_event_that_everybody_passes_over():
    common = {"rollout": 1, "epoch": 2, "digest": "", "verdict": "", "reason": "", "decided_at": 3}
    event = decode_log_record(Codec.of("rollout_event").encode({"kind": "prophecy", **common}))
    assert isinstance(event, RolloutEvent)
    assert event.kind == "prophecy"


def test_a_persons_rollback_is_read_by_routers_of_version_1():
    rollback = persons_rollback("abort", APPLIED, 3, "ada", "odd answers", now=5)
    data = encode_log_record(rollback)
    assert decode_log_record(data) == rollback
    old = Codec.of("rollout_event", newest=1).decode(data)
    assert (old["kind"], old["rollout"], old["reason"]) == (ROLLBACK, 3, "abort by ada: odd answers")


def test_a_rollback_of_version_1_is_read():
    rollback = persons_rollback("undo", APPLIED, 3, "ada", "too slow", now=5)
    record = {name: getattr(rollback, name) for name in rollback.__dataclass_fields__}
    old = {name: value for name, value in record.items() if name not in ("role", "policy_digest")}
    assert decode_log_record(written_by(1, "rollout_event", old)) == rollback


def test_a_part_that_cannot_be_read_is_refused():
    codec = Codec.of("rollout_event")
    transition = codec.decode(encode_log_record(TRANSITION))
    policy = codec.decode(encode_log_record(replace(TRANSITION, policy=Policy())))
    policy["transition"]["policy"] = json.dumps({"alpha": 0.05, "unknown": 1})
    for record in (
        transition | {"transition": None},
        transition | {"transition": transition["transition"] | {"after": "Dreaming"}},
        policy,
    ):
        with pytest.raises(DecodeError, match="a transition that cannot be read"):
            decode_log_record(codec.encode(record))


TRANSITION = Transition(
    rollout=1, before="Idle", after="Starting", step=0, canary_before=0.0, canary=0.0, cause="command", reason="",
    epoch=0, at=0,
)  # fmt: skip
