"""The owner of an input partition without a broker: whatever comes between, each outcome is written once."""

import asyncio
import threading

import pytest
from confluent_kafka import KafkaError, TopicPartition
from structlog.testing import capture_logs
from support.hang import Hang
from support.kafka_script import fails
from support.owners import NOW, POLICY, ROUTE, TOPICS, World, driven, prediction

from stream_router.adapters.avro.labels import encode_label
from stream_router.adapters.avro.records import encode_split
from stream_router.adapters.metrics import DEAD_LETTERS, RECORDS_MISSED, WATERMARKS_REFUSED
from stream_router.core.dead_letter import REASON_HEADER
from stream_router.core.evidence import Positions
from stream_router.core.policy import CLOCK_SKEW_MS
from stream_router.core.routing.applied_split import INITIAL_SPLIT, AppliedSplit
from stream_router.errors import DeadLetterLimitError
from stream_router.processes import intake, known_splits
from stream_router.processes.owner import State

# ruff: noqa: SLF001 - librdkafka's own codes are spelt so


@pytest.fixture
def world(monkeypatch):
    return World(monkeypatch)


@driven
async def test_outcomes_are_written_with_the_positions_behind_them(world):
    world.send(3)
    await world.read_all()
    assert world.faults() == []
    assert world.committed == (3, 3)
    assert world.evidence[-1].positions == Positions(3, 3)
    assert world.owner.state is State.JOINING


@driven
async def test_a_successor_writes_nothing_before_it_has_read_both_inputs_past_the_positions(world):
    world.send(2)
    await world.read_all()
    world.owner.drop()
    before = len(world.evidence)
    world.new_owner()
    world.start()
    await world.taken()
    world.send(2)
    assert world.app.seeks == [dict.fromkeys(world.owner.inputs, 0)], "rows are rebuilt from the oldest"
    await world.bring("predictions")
    await world.flushed()
    assert world.owner.state is State.REBUILDING
    await world.bring("ground_truth", 1)
    await world.flushed()
    assert world.owner.state is State.REBUILDING
    (taken,) = world.evidence[before:]
    assert (taken.positions, taken.counts, taken.outcomes) == (Positions(2, 2), (), ()), "asks for the broker's time"
    await world.bring("ground_truth")
    await world.flushed()
    assert world.owner.state is State.JOINING
    assert world.faults() == []


@driven
async def test_a_chunk_from_before_a_seek_is_passed_over(world):
    world.send(2)
    await world.taken()
    old = world.app.fetch("predictions", 1)
    await world.owner.resume()
    await world.owner.on_chunk("predictions", old)
    await world.flushed()
    assert [record.counts for record in world.evidence if record.counts] == []
    await world.read_all()
    assert world.faults() == []


@driven
async def test_a_rebalance_that_leaves_the_partition_here_reads_on_from_where_it_was(world):
    world.send(2)
    await world.taken()
    await world.bring("predictions", 1)
    await world.owner.resume()
    assert sorted(world.app.seeks[-1].values()) == [0, 1]
    await world.read_all()
    assert world.faults() == []


@driven
async def test_a_lost_chunk_is_sought_and_joined_once(world):
    world.send(6)
    await world.taken()
    await world.bring("predictions", 2)
    world.app.fetch("predictions", 2)
    await world.bring("predictions", 1)
    await world.flushed()
    assert world.app.seeks[-1] == {tp: 2 if tp.topic == TOPICS["predictions"] else 0 for tp in world.owner.inputs}
    await world.read_all()
    assert world.faults() == []


@driven
async def test_what_arrives_before_the_takeover_is_passed_over(world):
    world.send(1)
    world.app.confirms = False
    await world.until(lambda: world.app.asked > 2, "a question")
    world.app._position = dict.fromkeys(TOPICS.values(), 0)
    await world.bring("predictions")
    world.app.confirms = True
    await world.read_all()
    assert world.faults() == []


@driven
async def test_nobody_is_shut_out_before_the_group_confirms(world):
    world.app.confirms = False
    await world.until(lambda: world.app.asked > 5, "questions")
    assert "init_transactions" not in world.kafka.calls
    world.app.answers = [True, False]  # lost while the predecessor was shut out
    await world.until(lambda: not world.app.answers, "answers")
    await world.until(lambda: world.app.asked > 10, "questions")
    assert not world.owner.reads
    assert world.kafka.calls.count("init_transactions") == 1
    world.app.confirms = True
    await world.taken()


@driven
async def test_a_fenced_owner_forgets_everything_and_takes_over_only_when_the_group_confirms(world):
    world.send(3)
    await world.read_all()
    world.log.writer(0)  # a rogue
    world.send(3)
    world.app.confirms = False
    asked = world.app.asked
    await world.bring_all()
    await world.until(lambda: world.app.asked > asked + 3, "questions")
    assert world.owner.state is State.TAKING_OVER
    assert world.kafka.calls.count("init_transactions") == 2, "nobody is fenced back before the group confirms"
    assert world.committed == (3, 3)
    world.app.confirms, seeks = True, len(world.app.seeks)
    await world.until(lambda: len(world.app.seeks) > seeks, "a new seek")
    assert world.app.seeks[-1] == dict.fromkeys(world.owner.inputs, 0)
    await world.read_all()
    assert world.faults() == []


CALLS = ["begin_transaction", "produce", "flush", "send_offsets_to_transaction", "commit_transaction"]


@pytest.mark.parametrize("call", CALLS)
@driven
async def test_a_flush_that_fails_is_forgotten_and_said_anew(world, call):
    world.send(2)
    await world.taken()
    world.kafka.script(call, fails(KafkaError._TIMED_OUT))
    await world.bring_all()
    await world.until(lambda: len(world.app.seeks) > 1, "a new takeover")
    await world.read_all()
    assert world.faults() == []


@pytest.mark.parametrize("call", ["init_transactions", "committed", "get_watermark_offsets"])
@driven
async def test_a_takeover_that_fails_is_tried_again(world, call):
    world.kafka.script(call, *[fails(KafkaError._TIMED_OUT)] * 2)
    world.send(2)
    await world.read_all()
    assert world.kafka.played(call)
    assert world.faults() == []


@driven
async def test_a_seek_that_is_refused_takes_the_partition_anew(world):
    world.app.refused_seeks = 2
    world.send(2)
    await world.read_all()
    assert world.faults() == []


@pytest.mark.parametrize("call", ["send_offsets_to_transaction", "commit_transaction"])
@driven
async def test_a_flush_that_hangs_is_abandoned_and_cannot_write_any_more(world, monkeypatch, call):
    hang = Hang(monkeypatch)
    world.send(2)
    await world.taken()
    await world.flushed()
    world.kafka.script(call, hang.step)
    await world.bring_all()
    await world.until(lambda: len(world.app.seeks) > 1, "a new takeover")
    assert not any(record.counts or record.outcomes for record in world.evidence)
    await world.read_all()
    written = len(world.evidence)
    hang.release()
    await world.until(hang.returned.is_set, "the end of the call")
    await world.flushed()
    assert world.faults() == []
    assert len(world.evidence) == written


@driven
async def test_a_takeover_that_hangs_is_tried_again(world, monkeypatch):
    hang = Hang(monkeypatch)
    world.kafka.script("init_transactions", hang.step)
    world.send(2)
    await world.read_all()
    hang.release()
    await world.flushed()
    assert world.faults() == []


@driven
async def test_a_partition_dropped_while_it_is_taken_over_is_left_alone(world):
    world.app.confirms = False
    await world.until(lambda: world.app.asked, "a question")
    world.owner.drop()
    await world.until(world.tasks[0].done, "the end of the owner")
    assert "init_transactions" not in world.kafka.calls
    assert world.owner.is_dropped
    assert not world.owner.reads


@driven
async def test_a_partition_dropped_while_its_predecessor_is_shut_out_is_not_read(world):
    def dropping(_client, call):
        world.owner.drop()
        return call()

    world.kafka.script("init_transactions", dropping)
    await world.until(world.tasks[0].done, "the end of the owner")
    assert world.app.seeks == []
    assert world.owner.is_dropped


@driven
async def test_a_dropped_owner_still_says_what_it_had_read_and_ends(world):
    world.send(2)
    await world.taken()
    await world.bring_all()
    world.owner.drop()
    await world.until(world.tasks[0].done, "the end of the owner")
    assert world.faults() == []
    assert world.committed == (2, 2)


@driven
async def test_what_arrives_once_it_is_dropped_is_passed_over(world):
    world.send(2)
    await world.taken()
    await world.bring("predictions")
    await world.bring("ground_truth", 1)
    world.owner.drop()
    await world.bring("ground_truth")
    await world.until(world.tasks[-1].done, "the end of the owner")
    assert world.committed == (2, 1)


@driven
async def test_a_partition_dropped_while_its_rows_are_rebuilt_says_nothing(world):
    world.send(2)
    await world.read_all()
    world.owner.drop()
    world.new_owner()
    world.start()
    await world.taken()
    before = len(world.evidence)
    await world.bring("predictions", 1)
    world.owner.drop()
    await world.until(world.tasks[1].done, "the end of the owner")
    assert len(world.evidence) == before
    assert world.committed == (2, 2), "else a successor would say again what was said"


@driven
async def test_a_flush_on_its_way_while_a_successor_takes_over_is_shut_out(world):
    under_way, released = threading.Event(), threading.Event()

    def hangs(_client, call):
        under_way.set()
        assert released.wait(60)
        return call()

    world.send(2)
    await world.taken()
    world.kafka.script("commit_transaction", hangs)
    await world.bring_all()
    await world.until(under_way.is_set, "a flush")
    world.owner.drop()
    world.new_owner()
    world.start()
    await world.read_all()
    released.set()
    await world.until(world.tasks[0].done, "the end of the former owner")
    assert world.faults() == []


@pytest.mark.parametrize(
    ("log_start", "joined", "said"),
    [
        (1, 4, {"records that earlier ones may still join were deleted": 0}),
        (
            3,
            3,
            {
                "records were deleted before they were joined": 2,
                "records that earlier ones may still join were deleted": 0,
            },
        ),
    ],
)
@driven
async def test_a_successor_begins_behind_a_gap_and_says_what_is_missing(world, log_start, joined, said):
    world.send(2)
    await world.read_all()
    world.owner.drop()
    world.send(2)
    for topic in TOPICS.values():
        world.kafka.starts[topic, 0] = log_start
    world.new_owner()
    with capture_logs() as logs:
        world.start()
        await world.read_all()
    assert world.app.seeks == [dict.fromkeys(world.owner.inputs, log_start)]
    counts = [count for record in world.evidence for count in record.counts]
    assert (sum(count.predicted for count in counts), sum(count.labelled for count in counts)) == (joined, joined)
    assert world.committed == (4, 4)
    errors = [entry for entry in logs if entry["log_level"] == "error"]
    assert {entry["event"]: entry["first_missing"] for entry in errors} == said
    assert {entry["log_start"] for entry in errors} == {log_start}
    assert {entry["topic"] for entry in errors} == set(TOPICS.values())


@driven
async def test_poison_is_a_dead_letter_once_and_not_again_below_the_positions(world):
    letters = ROUTE.topic("dead-letters")
    counter = DEAD_LETTERS.labels(TOPICS["ground_truth"], "DecodeError")
    before = counter._value.get()
    world.send(1)
    world.kafka.fill(TOPICS["ground_truth"], b"nonsense", None)
    await world.taken()
    world.kafka.script("commit_transaction", fails(KafkaError._TIMED_OUT))
    await world.bring_all()
    await world.until(lambda: len(world.app.seeks) > 1, "a new takeover")
    await world.read_all()
    assert world.kafka.values(letters) == [b"nonsense", None]
    world.owner.drop()
    world.new_owner()
    world.start()
    world.send(1)
    world.kafka.fill(TOPICS["ground_truth"], b"more")
    await world.read_all()
    assert world.kafka.values(letters) == [b"nonsense", None, b"more"]
    assert world.faults() == []
    assert counter._value.get() - before == 3, "the one that was undone is not counted"


@pytest.mark.parametrize("others", [0, 60])
@driven
async def test_names_that_are_too_long_for_evidence_are_dead_letters_that_say_which(world, others):
    """They stand in each record that speaks of them: a megabyte of one would stop its partition for ever."""
    long = "v" * 255 + "é"
    far = [
        prediction(900, model_version="v" * 2_000_000),
        prediction(901, lane=long),
        prediction(902, digest=long),
        prediction(903, request_id="r" * 1025),
        encode_label("r" * 1025, value=True),
    ]
    world.send(1 + others)
    world.kafka.fill(TOPICS["predictions"], *far[:4])
    world.kafka.fill(TOPICS["ground_truth"], far[4])
    world.kafka.fill(TOPICS["predictions"], prediction(1 + others, lane=long[1:-1], model_version=long[1:]))
    world.kafka.fill(TOPICS["ground_truth"], encode_label(f"r{1 + others}", value=True), timestamp=(1, NOW + 1_000))
    world.requests += 1
    await world.read_all()
    letters = world.kafka.records(ROUTE.topic("dead-letters"))
    assert [letter.value() for letter in letters] == far
    assert [dict(letter.headers())[REASON_HEADER].decode().partition(":")[0] for letter in letters] == [
        "model_version has 2000000 bytes, more than 256",
        "lane has 257 bytes, more than 256",
        "digest has 257 bytes, more than 256",
        "request_id has 1025 bytes, more than 1024",
        "request_id has 1025 bytes, more than 1024",
    ]
    assert world.faults() == []
    assert world.committed == (others + 6, others + 3)


@driven
async def test_past_the_quota_of_dead_letters_the_chunk_raises(world):
    world.kafka.fill(TOPICS["predictions"], *[b"nonsense"] * 11)
    await world.taken()
    with pytest.raises(DeadLetterLimitError, match="11 dead letters in a row"):
        await world.bring("predictions")


def ends(world, **offsets):
    return {tp: offsets.get(tp.topic.removeprefix("r.").replace("-", "_"), 0) for tp in world.owner.inputs}


@driven
async def test_a_watermark_waits_until_all_has_been_read_that_the_inputs_held_then(world):
    world.send(2)
    await world.taken()
    world.owner.offer_watermark(NOW + 5, ends(world, predictions=2, ground_truth=2))
    await world.bring("predictions")
    await world.bring("ground_truth", 1)
    await world.flushed()
    assert world.watermarks == []
    await world.bring("ground_truth")
    await world.flushed()
    assert world.watermarks == [NOW + 5]


@driven
async def test_watermarks_never_fall_also_not_with_a_successor_whose_clock_is_behind(world):
    await world.taken()
    world.owner.offer_watermark(NOW + 500, ends(world))
    await world.flushed()
    world.owner.offer_watermark(NOW + 100, ends(world))
    await world.flushed()
    world.owner.drop()
    world.new_owner()
    world.now = NOW - 1_000
    world.start()
    await world.taken()
    world.owner.offer_watermark(NOW - 500, ends(world))
    await world.flushed()
    assert world.watermarks == [NOW + 500] * 3


@driven
async def test_a_watermark_from_before_the_takeover_is_refused(world):
    await world.taken()
    world.owner.offer_watermark(NOW, ends(world))
    await world.flushed()
    assert world.watermarks == []
    world.owner.offer_watermark(NOW + 1, ends(world))
    await world.flushed()
    assert world.watermarks == [NOW + 1]


@driven
async def test_rows_that_nothing_can_join_any_more_are_forgotten_and_not_rebuilt(world):
    world.send(2)
    await world.read_all()
    world.owner.offer_watermark(NOW + 3 * POLICY.reach, ends(world))
    await world.flushed()
    world.owner.drop()
    world.new_owner()
    world.start()
    await world.taken()
    assert world.app.seeks == [dict.fromkeys(world.owner.inputs, 2)]


@driven
async def test_an_outage_does_not_count_dead_letters_again(world):
    """The limit of ten would be passed by the second reading."""
    world.kafka.fill(TOPICS["ground_truth"], *[b"nonsense"] * 8)
    for takeovers in range(1, 4):
        await world.until(lambda wanted=takeovers: len(world.app.seeks) == wanted, "a takeover")
        await world.flushed()
        world.kafka.script("commit_transaction", fails(KafkaError._TIMED_OUT))
        await world.bring_all()
    await world.until(lambda: len(world.app.seeks) == 4, "the last takeover")
    await world.bring_all()
    await world.flushed()
    assert len(world.kafka.values(ROUTE.topic("dead-letters"))) == 8
    assert (world.limit.dead, world.limit.in_a_row, world.limit.records) == (8, 8, 8)


@driven
async def test_dead_letters_with_good_records_between_them_are_not_in_a_row(world):
    for _ in range(15):
        world.kafka.fill(TOPICS["ground_truth"], b"nonsense", encode_label("r", value=True))
    await world.taken()
    await world.bring_all()
    await world.flushed()
    assert (world.limit.dead, world.limit.in_a_row, world.limit.records) == (15, 0, 30)


@driven
async def test_records_that_only_rebuild_rows_do_not_dilute_the_ratio(world):
    world.send(5)
    await world.read_all()
    world.owner.drop()
    world.new_owner()
    world.start()
    await world.read_all()
    assert world.limit.records == 10


@driven
async def test_records_deleted_while_it_reads_are_said_and_counted(world):
    world.send(2)
    await world.read_all()
    missed = RECORDS_MISSED.labels(TOPICS["predictions"])
    before = missed._value.get()
    world.send(5)
    world.kafka.starts[TOPICS["predictions"], 0] = 6
    with capture_logs() as logs:
        await world.bring_all()
        await world.flushed()
    assert missed._value.get() - before == 4
    (said,) = [entry for entry in logs if entry["log_level"] == "error"]
    assert (said["topic"], said["first_missing"], said["log_start"]) == (TOPICS["predictions"], 2, 6)
    assert world.committed == (7, 7)
    counts = [count for record in world.evidence for count in record.counts]
    assert sum(count.predicted for count in counts) == 3


def split(epoch, rollout=1, canary=0.1, time=NOW):
    raw = f"split {epoch}".encode()
    return AppliedSplit(raw=raw, canary=canary, epoch=epoch, rollout=rollout, time=time)


def put_in_force(world, *splits, written=NOW):
    world.kafka.fill(ROUTE.topic("splits"), *[encode_split(applied) for applied in splits], timestamp=(0, written))


def reads_of_splits(world):
    """How often R.splits was read to its end."""
    return sum(call == "assign" for call in world.kafka.calls)


@driven
async def test_the_splits_that_predictions_name_are_read_before_they_are_joined_and_only_once(world):
    first, second = split(1), split(2)
    put_in_force(world, first)
    await world.taken()
    history = world.splits.history
    for applied in (first, second, first):
        if applied is second:
            put_in_force(world, second)
        world.kafka.fill(TOPICS["predictions"], prediction(world.requests, epoch=applied.epoch, digest=applied.digest))
        world.requests += 1
        await world.bring("predictions")
        assert history.canary_share(applied.epoch, applied.digest) == 0.1
    assert reads_of_splits(world) == 2


@driven
async def test_a_split_that_does_not_exist_is_looked_for_once_and_its_predictions_are_joined_as_they_are(world):
    await world.taken()
    for _ in range(3):
        world.send(1)
        await world.read_all()
    assert reads_of_splits(world) == 1
    assert world.faults() == []


@driven
async def test_that_everything_went_to_stable_before_the_first_split_is_known_without_a_record(world):
    await world.taken()
    first = {"epoch": INITIAL_SPLIT.epoch, "digest": INITIAL_SPLIT.digest, "rollout": 0, "lane": "stable"}
    world.kafka.fill(TOPICS["predictions"], prediction(0, **first))
    with capture_logs() as logs:
        await world.bring("predictions")
    assert reads_of_splits(world) == 0
    assert [line for line in logs if line["log_level"] == "warning"] == []
    assert world.splits.history.canary_share(INITIAL_SPLIT.epoch, INITIAL_SPLIT.digest) == 0.0


async def bring_foreign(world, routed_at, written):
    foreign = prediction(world.requests, epoch=0, digest="", rollout=0, routed_at=routed_at)
    world.kafka.fill(TOPICS["predictions"], foreign, timestamp=(0, written))
    world.requests += 1
    await world.bring("predictions")


@driven
async def test_a_foreign_prediction_waits_until_the_splits_are_read_after_it(world, monkeypatch):
    """Whatever the clocks say, unless it was written so long before the last time that they can not differ so."""
    monkeypatch.setattr(known_splits, "now_ms", lambda: NOW + 2 * CLOCK_SKEW_MS)
    await world.taken()
    recent, old = NOW + CLOCK_SKEW_MS + 1, NOW + CLOCK_SKEW_MS
    for written, reads in ((old, 1), (old, 1), (recent, 2), (recent, 3), (old, 3)):
        await bring_foreign(world, NOW, written)
        assert reads_of_splits(world) == reads


@driven
async def test_to_a_foreign_prediction_belongs_no_split_that_was_written_after_it_whoever_reads_it(world, monkeypatch):
    """A router writes its split a moment after its time, and a successor finds more splits than its predecessor did."""
    monkeypatch.setattr(known_splits, "now_ms", lambda: NOW + 100)
    put_in_force(world, split(1, rollout=1, time=NOW), written=NOW + 1)
    await world.taken()
    await bring_foreign(world, NOW + 12, NOW + 15)
    await world.flushed()
    put_in_force(world, split(2, rollout=2, time=NOW + 10), written=NOW + 20)
    await bring_foreign(world, NOW + 13, NOW + 25)
    await world.flushed()
    world.owner.drop()
    world.new_owner()
    world.start()
    for number in range(world.requests):
        world.kafka.fill(TOPICS["ground_truth"], encode_label(f"r{number}", value=True), timestamp=(1, NOW + 1_000))
    await world.read_all()
    counts = [count for record in world.evidence for count in record.counts]
    for rollout in (1, 2):
        mine = [count for count in counts if count.rollout == rollout]
        assert (sum(count.predicted for count in mine), sum(count.labelled for count in mine)) == (1, 1)


@driven
async def test_an_outage_of_the_splits_is_waited_for(world):
    put_in_force(world, split(1))
    await world.taken()
    await world.flushed()
    world.kafka.script("get_watermark_offsets", *[fails(KafkaError._TIMED_OUT)] * 3)
    world.kafka.fill(TOPICS["predictions"], prediction(0, epoch=1, digest=split(1).digest))
    await world.bring("predictions")
    assert world.kafka.played("get_watermark_offsets")
    assert world.splits.history.knows(1, split(1).digest)


@driven
async def test_a_chunk_whose_partition_was_sought_while_it_waited_for_the_splits_is_passed_over(world):
    world.send(2)
    await world.taken()
    await world.flushed()
    released = threading.Event()

    def hangs(_client, call):
        assert released.wait(60)
        return call()

    world.kafka.script("get_watermark_offsets", hangs)
    waiting = asyncio.ensure_future(world.bring("predictions"))
    await world.until(lambda: world.kafka.played("get_watermark_offsets"), "a question")
    await world.owner.resume()
    released.set()
    await waiting
    assert world.owner._tenure.positions.predictions == 0
    await world.read_all()
    assert world.faults() == []


BROKER = 10**9


@pytest.fixture
def broker(world, monkeypatch):
    """Tells its time; owners' clocks agree with it at first."""
    world.kafka.clock = world.now = BROKER
    monkeypatch.setattr(intake, "now_ms", lambda: world.now)


@pytest.mark.usefixtures("broker")
@driven
async def test_a_watermark_far_ahead_of_the_broker_is_refused_and_one_that_is_not_comes_back(world):
    refused = WATERMARKS_REFUSED.labels(ROUTE.name)
    before = refused._value.get()
    await world.taken()
    month = 30 * 86_400_000
    with capture_logs() as logs:
        for clock in (BROKER + 10, BROKER + month, BROKER + month + 1):
            world.owner.offer_watermark(clock, ends(world))
            await world.flushed()
        assert "2591940 s too far ahead" in world.health.unmet()["clock"]
        world.owner.offer_watermark(BROKER + 20, ends(world))
        await world.flushed()
    assert world.watermarks == [BROKER + 10, BROKER + 20]
    assert refused._value.get() - before == 2
    assert world.health.unmet()["clock"] is None
    assert len([entry for entry in logs if "watermark is refused" in entry["event"]]) == 1, "once a minute"


@driven
async def test_a_watermark_far_ahead_that_was_inherited_is_dropped(world):
    """A predecessor wrote it that could not know better."""
    await world.taken()
    world.owner.offer_watermark(BROKER + 30 * 86_400_000, ends(world))
    await world.flushed()
    world.owner.drop()
    world.kafka.clock = world.now = BROKER
    world.new_owner()
    with capture_logs() as logs:
        world.start()
        await world.taken()
        world.owner.offer_watermark(BROKER + 10, ends(world))
        await world.flushed()
    assert world.watermarks[1:] == [BROKER + 10]
    assert [entry for entry in logs if "a predecessor's clock" in entry["event"]]


MATURES = POLICY.matures_after + CLOCK_SKEW_MS


async def succeeded(world):
    """The owner ends; another process's takes over and reads all."""
    world.owner.drop()
    world.new_owner()
    world.start()
    await world.read_all()


@pytest.mark.parametrize("lost", ["offsets", "metadata"])
@driven
async def test_windows_are_told_once_also_where_the_metadata_of_the_offsets_is_gone(world, lost):
    """The newest watermark stands in R.evidence, not always in the newest record with positions."""
    world.send(3)
    await world.read_all()
    world.pass_time(MATURES)
    await world.flushed()
    world.send(2)
    await world.bring_all()
    await world.flushed()
    assert world.evidence[-1].watermark is None
    for topic in TOPICS.values():
        said = world.kafka.offsets.pop((ROUTE.evidence_group, topic, 0))
        if lost == "metadata":
            bare = TopicPartition(topic, 0, said.offset)
            world.kafka.offsets[ROUTE.evidence_group, topic, 0] = bare
    await succeeded(world)
    world.pass_time(MATURES)
    await world.flushed()
    assert world.faults(matured=True) == []


@pytest.mark.parametrize(("ahead", "lost"), [(MATURES, False), (30 * 86_400_000, True)])
@pytest.mark.usefixtures("broker")
@driven
async def test_what_was_told_by_a_watermark_far_ahead_is_told_by_no_successor(world, ahead, lost):
    """Also not by a successor's successor, which finds a watermark that is right. Of later windows all is told.

    By a watermark that is further ahead all rows were forgotten; they are held again where the metadata is gone.
    """
    world.time = BROKER
    world.kafka.clock = None  # so the first owner cannot know better
    world.send(3)
    await world.read_all()
    world.owner.offer_watermark(BROKER + ahead, {})
    await world.flushed()
    assert world.watermarks == [BROKER + ahead]
    if lost:
        world.kafka.offsets.clear()
    later = BROKER + 2 * CLOCK_SKEW_MS + POLICY.window
    for now in (BROKER, later, later + MATURES):
        world.kafka.clock = world.now = now
        await succeeded(world)
        if now == later:
            world.time = later
            world.send(2)
            await world.bring_all()
        world.time = now
        world.pass_time(1)
        await world.flushed()
    assert world.faults(matured=True) == []


@pytest.mark.usefixtures("broker")
@driven
async def test_labels_are_not_judged_by_an_inherited_watermark_that_is_far_ahead(world):
    """Else all of them would be older than what is kept."""
    await world.taken()
    await world.flushed()
    world.owner.drop()
    for topic in TOPICS.values():
        committed = TopicPartition(topic, 0, 0, f"rebuild=0;tick={BROKER + 30 * 86_400_000};outcome=0")
        world.kafka.offsets[ROUTE.evidence_group, topic, 0] = committed
    world.new_owner()
    world.start()
    await world.taken()
    await world.flushed()
    times = {"routed_at": BROKER, "scored_at": BROKER}
    world.kafka.fill(TOPICS["predictions"], prediction(0, **times), timestamp=(1, BROKER))
    world.kafka.fill(TOPICS["ground_truth"], encode_label("r0", value=True), timestamp=(1, BROKER + 1_000))
    world.requests = 1
    await world.bring_all()
    await world.flushed()
    assert world.kafka.values(ROUTE.topic("dead-letters")) == []
    assert world.faults() == []


@pytest.mark.usefixtures("broker")
@driven
async def test_labels_and_predictions_with_times_far_ahead_are_dead_letters(world):
    await world.taken()
    await world.flushed()
    ahead = BROKER + CLOCK_SKEW_MS + 60_000  # more than what passes while the test runs
    far = [prediction(1, routed_at=BROKER, scored_at=BROKER), encode_label("r1", value=True)]
    near = [prediction(0, routed_at=BROKER, scored_at=BROKER), encode_label("r0", value=True)]
    for side, record, other in zip(TOPICS, far, near, strict=True):
        world.kafka.fill(TOPICS[side], record, timestamp=(1, ahead))
        world.kafka.fill(TOPICS[side], other, timestamp=(1, BROKER))
    await world.bring_all()
    await world.flushed()
    assert world.kafka.values(ROUTE.topic("dead-letters")) == far
    world.requests = 1
    assert world.faults() == []
    assert world.committed == (2, 2)


@driven
async def test_a_prediction_routed_after_it_was_written_is_a_dead_letter_whoever_reads_it_and_counts_for_no_limit(
    world,
):
    """The clock of one router must not end the monitor."""
    far = [prediction(n, routed_at=NOW + CLOCK_SKEW_MS + 1) for n in range(100, 120)]
    world.send(1)
    world.kafka.fill(TOPICS["predictions"], *far, prediction(1, routed_at=NOW + CLOCK_SKEW_MS))
    world.kafka.fill(TOPICS["ground_truth"], encode_label("r1", value=True), timestamp=(1, NOW + CLOCK_SKEW_MS))
    world.requests = 2
    await world.taken()
    with capture_logs() as logs:
        await world.bring_all()
        await world.flushed()
    assert [entry["records"] for entry in logs if entry["event"] == "dead letters for their times"] == [20]
    assert (world.limit.records, world.limit.dead) == (4, 0)
    world.owner.drop()
    world.new_owner()
    world.start()
    await world.read_all()
    assert world.owner._tenure.join.rows == 2
    assert world.kafka.values(ROUTE.topic("dead-letters")) == far
    assert world.faults() == []


@pytest.mark.usefixtures("broker")
@driven
async def test_what_was_refused_for_its_time_stays_refused_once_that_time_has_come(world):
    ahead, times = BROKER + CLOCK_SKEW_MS + 30_000, {"routed_at": BROKER, "scored_at": BROKER}
    refused = [prediction(2, **times), encode_label("r1", value=False)]
    world.kafka.fill(TOPICS["predictions"], prediction(0, **times), prediction(1, **times), timestamp=(1, BROKER))
    world.kafka.fill(TOPICS["predictions"], refused[0], timestamp=(1, ahead))
    world.kafka.fill(TOPICS["ground_truth"], encode_label("r0", value=True), timestamp=(1, BROKER + 1_000))
    world.kafka.fill(TOPICS["ground_truth"], refused[1], timestamp=(1, ahead))
    world.requests = 2
    await world.taken()
    await world.bring_all()
    await world.flushed()
    world.owner.drop()
    world.kafka.clock = world.now = later = ahead + 1_000
    for takeovers in range(2):  # the first one dies before it has read anything
        world.new_owner()
        world.start()
        await world.taken()
        if not takeovers:
            world.owner.drop()
    await world.bring_all()
    world.kafka.fill(TOPICS["ground_truth"], encode_label("r1", value=True), timestamp=(1, later))
    await world.bring("ground_truth")
    await world.flushed()
    assert world.owner._tenure.join.rows == 2
    assert world.kafka.values(ROUTE.topic("dead-letters")) == refused
    assert world.faults() == []


@driven
async def test_a_machine_judges_by_its_own_clock_where_the_broker_does_not_tell_its_own(world, monkeypatch):
    monkeypatch.setattr(intake, "now_ms", lambda: NOW)
    far = encode_label("r0", value=True)
    world.kafka.fill(TOPICS["ground_truth"], far, timestamp=(1, NOW + CLOCK_SKEW_MS + 1))
    world.send(1)
    await world.read_all()
    assert world.kafka.values(ROUTE.topic("dead-letters")) == [far]
    assert world.faults() == []


@pytest.mark.usefixtures("broker")
@driven
async def test_a_label_older_than_all_that_is_kept_is_a_dead_letter_only_where_it_is_new(world):
    await world.taken()
    old = encode_label("r0", value=True)
    world.kafka.fill(TOPICS["ground_truth"], old, timestamp=(1, BROKER - POLICY.kept_for - 1))
    await world.bring_all()
    await world.flushed()
    assert world.kafka.values(ROUTE.topic("dead-letters")) == [], "the monitor may have been away for as long"
    world.owner.offer_watermark(BROKER + 10, ends(world))
    await world.flushed()
    world.kafka.fill(TOPICS["ground_truth"], old, timestamp=(1, BROKER - POLICY.kept_for - 1))
    await world.bring_all()
    await world.flushed()
    assert world.kafka.values(ROUTE.topic("dead-letters")) == [old]


@driven
async def test_times_are_not_judged_where_the_broker_does_not_tell_its_own(world):
    await world.taken()
    with capture_logs() as logs:
        world.send(1)
        world.owner.offer_watermark(BROKER * 1000, ends(world))
        await world.read_all()
        world.owner.offer_watermark(BROKER * 2000, ends(world))
        await world.flushed()
    assert world.watermarks == [BROKER * 1000, BROKER * 2000]
    assert world.kafka.values(ROUTE.topic("dead-letters")) == []
    assert len([entry for entry in logs if "clock is not checked" in entry["event"]]) <= 1
