"""A controller's term without a broker: what it says is in Kafka first, once, and with its position."""

from dataclasses import replace
from itertools import pairwise

import pytest
from confluent_kafka import TIMESTAMP_LOG_APPEND_TIME, KafkaError, Message, TopicPartition
from prometheus_client import REGISTRY
from structlog.testing import capture_logs
from support.evidence import flush, outcome
from support.kafka_script import assigned, brings_nothing, event, fails, first, lost, meanwhile, passes, revoked
from support.terms import EVIDENCE, RECORDS, ROUTE, SPLIT, STATE, VERDICT_AT, World

from stream_router.adapters.arrays import pack, unpack
from stream_router.adapters.avro.evidence import decode_evidence, encode_evidence
from stream_router.adapters.avro.records import encode_split
from stream_router.adapters.avro.verdict_state import Part, decode_part, encode_part
from stream_router.adapters.kafka import verdict_state
from stream_router.adapters.kafka.verdict_state import newest_snapshot
from stream_router.core.deciding.fold import FORMAT
from stream_router.core.rollout.controller import Controller
from stream_router.core.rollout.rollout_event import ROLLBACK
from stream_router.errors import DeadLetterLimitError, DecodeError, FencedError, TopicError, UnreachableError
from stream_router.processes import controller
from stream_router.settings import DeadLetterLimits, Settings

WRITTEN_BETWEEN = 2
"""Offsets that a control record of the split and the end of its transaction take up."""

# ruff: noqa: SLF001 - librdkafka's own codes are spelt so


@pytest.fixture
def world(monkeypatch):
    return World(monkeypatch)


@pytest.fixture(scope="module")
def undisturbed():
    """The windows that one term writes that nothing disturbs."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        world = World(monkeypatch)
        world.happens(*RECORDS)
        world.serve()
        return world.windows


def test_an_elected_controller_writes_windows_controls_and_one_rollback(world):
    world.happens(*RECORDS)
    world.serve()
    (rollback,) = world.rollbacks
    assert (rollback.kind, rollback.rollout, rollback.evidence_offset) == (ROLLBACK, 1, VERDICT_AT)
    assert {window.lane for window in world.windows.values()} == {"stable", "canary"}
    assert [record.epoch_in_force.digest for record in world.controls if record.epoch_in_force] == [SPLIT.digest]
    assert world.store.applied().canary == 0.0
    assert world.position >= len(RECORDS)


def test_who_is_not_elected_writes_nothing(world):
    world.happens(*RECORDS)
    world.serve(brings_nothing, brings_nothing)
    assert world.rollbacks == []
    assert "begin_transaction" not in world.kafka.calls
    assert world.store.applied() == SPLIT


def test_nothing_is_written_before_all_was_read_that_r_evidence_held_at_the_election(world):
    read = []

    def look(_client, call):
        read.append(world.log._next)
        return call()

    world.happens(*RECORDS)
    world.kafka.script("begin_transaction", look)
    world.serve()
    assert read[0] >= len(RECORDS)


def test_everything_of_a_turn_and_its_position_are_one_transaction(world):
    def written():
        return len(world.rollbacks), len(world.windows), len(world.controls), world.position

    states = []

    def look(_client, call):
        states.append(written())
        call()
        states.append(written())

    world.happens(*RECORDS)
    world.kafka.script("commit_transaction", look)
    world.serve()
    before, after = states
    assert before == (0, 0, 0, None)
    assert after[0] == 1
    assert after[1] > 0
    assert after[2] == 1
    assert after[3] == len(RECORDS)


def test_a_verdict_is_in_kafka_before_redis_is_called_and_brought_there_until_it_is_taken(world, monkeypatch):
    known, call = [], world.store.call

    def looking(*arguments, **keywords):
        known.append(len(world.rollbacks))
        return call(*arguments, **keywords)

    monkeypatch.setattr(world.store, "call", looking)
    world.store.away = True
    look = world.store.look
    monkeypatch.setattr(world.store, "look", lambda: (known.append(len(world.rollbacks)), look())[1])

    def back(_client, call):
        world.store.away = False
        return call()

    world.happens(*RECORDS)
    world.serve(first(assigned(0)), *[passes] * 15, back, passes, passes, passes)
    assert len(known) > 4
    assert set(known) == {1}
    assert len(world.rollbacks) == 1
    assert world.store.latch().rollout == 1
    assert known.count(1) == len(known)
    assert world.store.history(100)[0]["what"] == "rolled back"


def test_redis_is_called_no_more_once_it_has_taken_the_rollback(world, monkeypatch):
    calls, call = [], world.store.call
    monkeypatch.setattr(world.store, "call", lambda *given, **named: (calls.append(1), call(*given, **named))[1])
    world.happens(*RECORDS)
    world.serve(first(assigned(0)), *[passes] * 20)
    assert len(calls) == 1


def test_a_rollback_that_a_predecessor_left_in_kafka_is_brought_to_redis(world):
    world.has_rolled_back(1)
    world.serve(first(assigned(0)), passes)
    assert world.store.applied().canary == 0.0
    assert len(world.rollbacks) == 1


@pytest.mark.parametrize("rollout", [1, 2])
def test_what_a_rollback_says_it_has_carried_out_is_said_once_and_only_of_the_rollout_in_force(world, rollout):
    """A later rollout, which the rollback does not touch, keeps its share."""
    world.store.keys.applied = replace(SPLIT, rollout=rollout)
    world.has_rolled_back(1)
    said = []
    for _ in range(3):
        with capture_logs() as logs:
            world.serve(first(assigned(0)), passes)
        said += [line["canary"] for line in logs if line["event"] == "rollback carried out"]
        world.new_term()
    assert said == ([0.0] if rollout == 1 else [])


def test_a_rollback_of_this_term_is_said_although_a_router_was_quicker(world, monkeypatch):
    call = world.store.call

    def router_first(view, *arguments, **given):
        call(view, *arguments, **(given | {"who": "router", "now": 5}))
        return call(view, *arguments, **given)

    monkeypatch.setattr(world.store, "call", router_first)
    world.happens(*RECORDS)
    with capture_logs() as logs:
        world.serve()
    assert [line["canary"] for line in logs if line["event"] == "rollback carried out"] == [0.0]


def test_a_verdict_that_a_predecessor_passed_over_is_written_by_its_successor(world):
    """In a rolling upgrade: the older version makes what it cannot read dead letters, and goes on behind them."""
    world.happens(*RECORDS)
    committed = TopicPartition(EVIDENCE, 0, len(RECORDS), "replay=0;held=0")
    world.kafka.offsets[ROUTE.controller_group, EVIDENCE, 0] = committed
    world.serve()
    assert [rollback.evidence_offset for rollback in world.rollbacks] == [VERDICT_AT]
    world.new_term()
    world.serve()
    assert len(world.rollbacks) == 1


def test_a_term_s_first_transaction_has_no_snapshot_where_it_has_a_rollback(world):
    found = []

    def look(_client, call):
        call()
        found.append((len(world.rollbacks), len(world.kafka.records(STATE))))

    world.happens(*RECORDS)
    world.kafka.script("commit_transaction", look, look)
    world.serve(first(assigned(0)), *[passes] * 15)
    assert found == [(1, 0), (1, 1)]


def test_after_a_failed_transaction_with_a_snapshot_the_next_has_none(world):
    """Else one that cannot be written would keep the controller from saying anything."""
    had = []

    def refuses(client, call):
        had.append("snapshot")
        return fails(KafkaError._TIMED_OUT)(client, call)

    world.happens(*RECORDS[:40])
    world.kafka.script("commit_transaction", refuses)
    world.control(*[first(assigned(0)), *[passes] * 6] * 2)
    assert had
    assert world.position >= 40
    assert world.kafka.records(STATE) == []


CALLS = ["begin_transaction", "produce", "send_offsets_to_transaction", "commit_transaction"]


@pytest.mark.parametrize("call", CALLS)
def test_a_controller_that_is_fenced_writes_nothing_and_the_next_term_writes_it_once(world, undisturbed, call):
    world.happens(*RECORDS)
    world.kafka.script(call, fails(KafkaError._FENCED, fatal=True))
    with pytest.raises(FencedError):
        world.serve()
    assert world.rollbacks == []
    assert world.windows == {}
    assert world.position is None
    assert world.store.applied() == SPLIT, "Redis hears of nothing that is not in Kafka"
    world.new_term()
    world.serve()
    assert [rollback.evidence_offset for rollback in world.rollbacks] == [VERDICT_AT]
    assert world.windows == undisturbed


def test_a_successor_shuts_its_predecessor_out(world):
    """The predecessor believes to lead, and the model of the broker fences it."""
    world.happens(*RECORDS)
    former = world.term

    def successor(_client, call):
        records = call()
        world.new_term()
        world.serve()
        world.happens(RECORDS[-1])
        world.kafka.script("consume", passes, passes)
        return records

    world.kafka.script("consume", first(assigned(0)), *[passes] * 20, successor)
    with pytest.raises(FencedError):
        former.serve(world.kafka.idle)
    assert len(world.rollbacks) == 1


@pytest.mark.parametrize("given_back", [False, True])
@pytest.mark.parametrize("how", [revoked, lost])
def test_a_term_ends_when_the_group_chooses_another_even_if_we_are_chosen_again_at_once(
    world, undisturbed, how, given_back
):
    world.happens(*RECORDS)
    actions = (how(0), assigned(0)) if given_back else (how(0),)
    world.kafka.script("consume", first(assigned(0)), passes, meanwhile(*actions))
    world.term.serve(lambda: False)
    world.term.close()
    assert world.rollbacks == []
    world.new_term()
    world.serve()
    assert len(world.rollbacks) == 1
    assert world.windows == undisturbed


def test_control_begins_a_new_term_after_each_error_that_a_new_one_can_mend(world, undisturbed):
    world.happens(*RECORDS)
    elected, away = first(assigned(0)), event(KafkaError.OFFSET_OUT_OF_RANGE)
    world.kafka.script("commit_transaction", fails(KafkaError._TIMED_OUT, retriable=True))
    world.control(elected, away, elected, *[passes] * 12, elected, passes)
    assert world.kafka.calls.count("init_transactions") == 3
    assert len(world.rollbacks) == 1
    assert world.windows == undisturbed


def test_a_successor_goes_on_behind_what_was_written(world, undisturbed):
    world.happens(*RECORDS[:40])
    world.serve()
    position = world.position
    world.happens(*RECORDS[40:])
    world.new_term()
    world.serve()
    assert (world.log.position, world.log.replay_from) == (position, 0)
    assert len(world.rollbacks) == 1
    assert world.windows == undisturbed


@pytest.mark.parametrize("undone", [0, 1])
def test_an_unreadable_record_is_one_dead_letter_also_for_the_next_terms(world, undone):
    world.happens(*RECORDS[:5], b"nonsense", None, *RECORDS[5:])
    world.kafka.script("commit_transaction", *[fails(KafkaError._TIMED_OUT)] * undone)
    if undone:
        with pytest.raises(UnreachableError):
            world.serve()
        world.new_term()
    for _ in range(3):
        world.serve()
        world.new_term()
    letters = world.kafka.records(ROUTE.topic("dead-letters"))
    assert [letter.value() for letter in letters] == [b"nonsense", None]
    assert dict(letters[0].headers())["__connect.errors.offset"] == b"5"
    assert len(world.rollbacks) == 1


def test_a_dead_letter_keeps_key_and_headers_of_its_record(world):
    world.kafka.fill(EVIDENCE, b"nonsense", key=b"k", headers=[("by", b"somebody")])
    world.serve()
    (letter,) = world.kafka.records(ROUTE.topic("dead-letters"))
    assert (letter.key(), letter.value(), letter.headers()[0]) == (b"k", b"nonsense", ("by", b"somebody"))


def test_a_record_with_a_header_name_that_is_not_utf8_is_a_dead_letter_without_its_headers(world):
    log = world.kafka.logs[EVIDENCE, 0]
    log.append(UnreadableName(EVIDENCE, 0, len(log), value=b"nonsense", timestamp=(1, 1_000)))
    world.serve()
    (letter,) = world.kafka.records(ROUTE.topic("dead-letters"))
    assert (letter.value(), letter.headers()[0]) == (b"nonsense", ("__connect.errors.topic", EVIDENCE.encode()))


class UnreadableName(Message):
    """As the client gives a record with a header whose name is not UTF-8."""

    def headers(self):
        raise UnicodeDecodeError("utf-8", b"h\xff", 1, 2, "invalid start byte")


def test_past_the_quota_of_dead_letters_control_ends(world):
    world.happens(*[b"nonsense"] * 1_001)
    with pytest.raises(DeadLetterLimitError):
        world.control(first(assigned(0)))
    assert world.kafka.values(ROUTE.topic("dead-letters")) == []


def test_a_record_counts_once_for_the_quota_however_often_its_transaction_fails(world):
    world.happens(RECORDS[0], *[b"nonsense"] * 5)
    world.kafka.script("commit_transaction", *[fails(KafkaError._TIMED_OUT)] * 4)
    world.control(*[first(assigned(0))] * 5, dead_letters=DeadLetterLimits(consecutive=5))
    assert world.kafka.values(ROUTE.topic("dead-letters")) == [b"nonsense"] * 5


def test_good_records_that_are_read_again_end_no_row_of_dead_letters(world):
    def one_more(client, call):
        world.happens(b"nonsense")
        return fails(KafkaError._TIMED_OUT)(client, call)

    world.happens(RECORDS[0], *[b"nonsense"] * 5)
    world.kafka.script("commit_transaction", one_more)
    with pytest.raises(DeadLetterLimitError, match="6 dead letters in a row"):
        world.control(*[first(assigned(0))] * 2, dead_letters=DeadLetterLimits(consecutive=5))


def deleted_until(world, offset):
    """Retention has deleted evidence, and there is no snapshot."""
    world.kafka.starts[EVIDENCE, 0] = offset
    world.kafka.logs[STATE, 0].clear()


@pytest.mark.parametrize("evidence_missing", [False, True])
def test_a_rollout_whose_evidence_was_deleted_is_held_by_this_term_and_the_next(world, evidence_missing):
    world.happens(*RECORDS[:40])
    world.serve()
    deleted_until(world, 20 * evidence_missing)
    world.new_term()
    world.happens(RECORDS[40])
    served, write = [], world.store.write_status
    world.store.write_status = lambda status: (
        served.append(REGISTRY.get_sample_value("stream_router_held_rollouts", {"route": "r"})),
        write(status),
    )
    with capture_logs() as logs:
        world.serve()
    assert world.metadata.endswith(f"held={int(evidence_missing)}")
    assert ("it is held, not judged" in str(logs)) is evidence_missing
    assert bool(world.store.status().remark) is evidence_missing
    assert served[-1] == evidence_missing
    world.happens(*RECORDS[41:])
    world.new_term()
    world.serve()
    assert len(world.rollbacks) == (0 if evidence_missing else 1)


def test_a_decided_rollout_pins_no_evidence_and_is_not_held_past_retention(world):
    world.happens(*RECORDS)
    world.serve()
    deleted_until(world, len(RECORDS))
    shown = world.store.status()
    world.new_term()
    world.happens(encode_evidence(flush(0, outcome())))
    world.serve()
    assert world.metadata.endswith("held=0")
    assert world.store.status().remark is None
    assert world.store.status().trial == replace(shown.trial, repeats=0, unattributed=0)
    assert len(world.rollbacks) == 1


def test_evidence_before_a_snapshot_is_not_missed(world):
    world.happens(*RECORDS[:40])
    world.serve()
    world.kafka.starts[EVIDENCE, 0] = 40
    world.happens(*RECORDS[40:])
    world.new_term()
    world.serve()
    assert [rollback.evidence_offset for rollback in world.rollbacks] == [VERDICT_AT + WRITTEN_BETWEEN]


def test_a_term_reads_only_what_came_after_the_newest_snapshot(world, undisturbed, monkeypatch):
    read, on_evidence = [], Controller.on_evidence

    def reading(self, offset, evidence):
        read.append(offset)
        on_evidence(self, offset, evidence)

    world.happens(*RECORDS[:40])
    world.serve()
    monkeypatch.setattr(Controller, "on_evidence", reading)
    world.happens(*RECORDS[40:])
    world.new_term()
    world.serve()
    assert read[0] == 40
    assert [rollback.evidence_offset for rollback in world.rollbacks] == [VERDICT_AT + WRITTEN_BETWEEN]
    assert world.windows == undisturbed


def damaged(world):
    (record,) = world.kafka.records(STATE)
    world.kafka.fill(STATE, record.value()[:-9] + b"x" * 9)


def cut_off(world):
    (record,) = world.kafka.records(STATE)
    part = decode_part(record.value())
    world.kafka.fill(STATE, encode_part(replace(part, parts=2)))


def of_another_format(world):
    (record,) = world.kafka.records(STATE)
    world.kafka.fill(STATE, encode_part(replace(decode_part(record.value()), format=FORMAT + 1)))


def of_another_log(world):
    (record,) = world.kafka.records(STATE)
    world.kafka.fill(STATE, encode_part(replace(decode_part(record.value()), offset=1_000)))


def of_another_policy(world):
    (record,) = world.kafka.records(STATE)
    part = decode_part(record.value())
    state = unpack(part.body)
    state["policy"]["window"] = 1
    world.kafka.fill(STATE, encode_part(replace(part, body=pack(state))))


def no_snapshot(world):
    world.kafka.fill(STATE, encode_part(Part(offset=1, part=0, parts=1, format=FORMAT, body=pack({"a": 1}))))


def nonsense(world):
    world.kafka.fill(STATE, b"nonsense")


@pytest.mark.parametrize(
    "fault", [damaged, cut_off, of_another_format, of_another_log, of_another_policy, no_snapshot, nonsense]
)
def test_a_snapshot_that_does_not_serve_is_said_and_all_is_replayed(world, undisturbed, fault):
    world.happens(*RECORDS[:40])
    world.serve()
    fault(world)
    world.happens(*RECORDS[40:])
    world.new_term()

    def behind_the_rollback(_client, call):
        world.happens(encode_evidence(flush(0)))
        return call()

    with capture_logs() as logs:
        world.serve(first(assigned(0)), *[passes] * 12, behind_the_rollback, passes, passes)
    assert "the snapshot of R.verdict-state is not used" in [line["event"] for line in logs]
    assert {line["from_snapshot"] for line in logs if "from_snapshot" in line} == {False}
    assert [rollback.evidence_offset for rollback in world.rollbacks] == [VERDICT_AT + WRITTEN_BETWEEN]
    assert world.windows == undisturbed
    assert newest_snapshot(Settings(), ROUTE).offset > 40, "one that serves follows, behind the rollback"


def test_old_parts_of_a_longer_snapshot_are_none_of_a_shorter_one(world, monkeypatch):
    monkeypatch.setattr(verdict_state, "_PART_BYTES", 10)
    long, short = ({"text": "x" * length} for length in (2_000, 10))
    for offset, state in ((5, long), (6, short)):
        for record in verdict_state.records_of(ROUTE, verdict_state.Snapshot(offset, 1, state)):
            world.kafka.fill(STATE, record.value, key=record.key)
    assert len(world.kafka.records(STATE)) > 64
    assert newest_snapshot(Settings(), ROUTE).state == short
    for _ in world.kafka.records(STATE)[-3:]:
        world.kafka.logs[STATE, 0].pop()
    with pytest.raises(DecodeError, match="not all"):
        newest_snapshot(Settings(), ROUTE)


def test_a_snapshot_of_many_parts_is_found_from_the_end(world, monkeypatch):
    monkeypatch.setattr(verdict_state, "_PART_BYTES", 10)
    state = {"text": "x" * 2_000}
    for record in verdict_state.records_of(ROUTE, verdict_state.Snapshot(5, 1, state)):
        world.kafka.fill(STATE, record.value, key=record.key)
    assert newest_snapshot(Settings(), ROUTE).state == state


def test_how_far_it_has_read_is_shown_until_it_acts(world, monkeypatch):
    monkeypatch.setattr(controller, "_TELL_EVERY", 0.0)
    shown, write = [], world.store.write_status
    monkeypatch.setattr(world.store, "write_status", lambda status: (shown.append(status), write(status)))
    world.happens(*RECORDS)
    with capture_logs() as logs:
        world.serve()
    remarks = [status.remark for status in shown]
    assert remarks[0] == f"catching up: 10 of {len(RECORDS)} records of evidence read (12 %)"
    assert shown[0].rollout == 1
    assert remarks[-1] is None
    assert "the controller catches up" in [line["event"] for line in logs]


def test_a_watermark_ahead_of_the_brokers_time_changes_nothing_and_is_said(world, undisturbed):
    """As long as the topic has the broker's time."""
    month = 30 * 24 * 3_600_000
    world.kafka.fill(EVIDENCE, RECORDS[0], timestamp=(TIMESTAMP_LOG_APPEND_TIME, 0))
    for second, record in enumerate(RECORDS[1:]):
        evidence = decode_evidence(record)
        if 10 < second < 20:
            evidence = replace(evidence, watermark=evidence.watermark + month)
        world.kafka.fill(EVIDENCE, encode_evidence(evidence), timestamp=(TIMESTAMP_LOG_APPEND_TIME, second * 500))
    with capture_logs() as logs:
        world.serve()
    assert "watermarks of a monitor whose clock is ahead" in str(logs)
    assert world.store.status().refused_watermarks == 9
    assert len(world.rollbacks) == 1
    assert world.windows == undisturbed


def test_the_status_is_shown_where_it_changed_and_nothing_depends_on_redis(world, monkeypatch):
    shown, write = [], world.store.write_status

    def writing(status):
        write(status)
        shown.append(status)

    monkeypatch.setattr(world.store, "write_status", writing)

    def routed_by(_client, call):
        world.kafka.fill(ROUTE.topic("splits"), encode_split(world.store.applied()))
        return call()

    world.happens(*RECORDS)
    world.serve(first(assigned(0)), *[passes] * 12, routed_by, *[passes] * 5)
    assert all(one != other for one, other in pairwise(shown))
    assert shown[-1].phase == "RolledBack"
    assert world.store.status() == shown[-1]
    world.store.away = True
    world.new_term()
    world.happens(RECORDS[-1])
    position = world.position
    world.serve()
    assert world.position > position


def test_a_topic_that_goes_missing_ends_control_and_says_which(world):
    with pytest.raises(TopicError, match="stream-router topics apply"):
        world.control(first(assigned(0)), event(KafkaError.UNKNOWN_TOPIC_OR_PART))


@pytest.mark.parametrize("code", [KafkaError._FENCED, KafkaError._AUTO_OFFSET_RESET, KafkaError.ILLEGAL_GENERATION])
def test_what_a_new_term_mends_does_not_end_control(world, undisturbed, code):
    world.happens(*RECORDS)
    world.control(first(assigned(0)), event(code), first(assigned(0)))
    assert len(world.rollbacks) == 1
    assert world.windows == undisturbed
