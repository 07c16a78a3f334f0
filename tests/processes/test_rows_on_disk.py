"""A takeover goes on from the rows on disk and reads only what came after them; what does not fit is passed over."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest
from confluent_kafka import KafkaError
from structlog.testing import capture_logs
from support.kafka_script import fails
from support.owners import NOW, ROUTE, TOPICS, World, driven

from stream_router.adapters.rows_file import Rows, RowsFile
from stream_router.core.evidence import Positions
from stream_router.processes import rows_on_disk
from stream_router.processes.rows_on_disk import RowsOnDisk
from stream_router.settings import Settings


@pytest.fixture
def world(monkeypatch, tmp_path):
    monkeypatch.setattr(rows_on_disk, "topic_ids", lambda _settings, topics: dict.fromkeys(topics, "first"))
    monkeypatch.setattr(rows_on_disk, "_CHANGES", 1)
    monkeypatch.setattr(rows_on_disk, "_SHARE", 1)
    world = World(monkeypatch)
    world.folder = tmp_path
    restart(world)
    return world


def restart(world):
    world.disk = RowsOnDisk(Settings(), ROUTE, Path(world.folder))
    world.new_owner()


def file(world):
    return RowsFile(Path(world.folder), ROUTE.name, 0)


async def written(world, positions):
    """All is read, written, and on disk."""
    await world.read_all()
    await world.until(lambda: (rows := file(world).read()) and rows.about.positions == positions, "rows on disk")


async def killed(world):
    """Another process takes the partition, with nothing but what is on disk and in Kafka."""
    await asyncio.sleep(0)
    world.owner._tenure = None  # noqa: SLF001 - what a process that is killed knew is gone
    world.owner.drop()
    restart(world)
    world.start()


@driven
async def test_a_successor_reads_only_what_came_after_the_file(world):
    world.send(5)
    await written(world, Positions(5, 5))
    world.disk = None
    world.owner._shared = replace(world.owner._shared, disk=None)  # noqa: SLF001 - nothing more goes to disk
    world.send(2)
    await world.read_all()
    await killed(world)
    await world.taken()
    assert world.app.seeks == [dict.fromkeys(world.owner.inputs, 5)]
    await world.read_all()
    assert world.owner.progress.rows == 7
    world.send(1)
    await world.read_all()
    assert world.faults() == []


@driven
async def test_labels_meet_the_rows_of_the_file(world):
    world.send(3)
    await world.taken()
    await world.bring("predictions")
    await world.flushed()
    await world.until(lambda: (rows := file(world).read()) and rows.about.positions == (3, 0), "rows on disk")
    await killed(world)
    await world.read_all()
    assert world.app.seeks == [{tp: 3 if tp.topic == TOPICS["predictions"] else 0 for tp in world.owner.inputs}]
    assert world.faults() == []


@driven
async def test_rows_whose_flush_failed_are_not_written(world):
    await world.taken()
    await world.flushed()
    world.send(2)
    world.kafka.script("commit_transaction", fails(KafkaError._TIMED_OUT))  # noqa: SLF001 - librdkafka's own code is spelt so
    await world.bring_all()
    await world.until(lambda: len(world.app.seeks) > 1, "a new takeover")
    assert file(world).read() is None


def changed(world, about=None, arrays=None):
    rows = file(world).read()
    file(world).write(Rows(replace(rows.about, **(about or {})), dict(rows.arrays) | (arrays or {})))


def of_another_topic(world):
    changed(world, {"topics": {"r.predictions": "another", "r.ground-truth": "first"}})


def ahead(world):
    changed(world, {"positions": Positions(6, 5)})


def of_another_policy(world):
    rows = file(world).read()
    changed(world, arrays={"policy": rows.arrays["policy"] + 1})


def of_another_format(world):
    changed(world, {"format": 0})


def damaged(world):
    (found,) = Path(world.folder, ROUTE.name).iterdir()
    found.write_bytes(found.read_bytes()[:100])


@pytest.mark.parametrize(
    ("harm", "reason"),
    [
        (of_another_topic, "a topic was deleted and made anew"),
        (ahead, "they are ahead of the committed positions"),
        (of_another_policy, "the policy in force is"),
        (of_another_format, "in format 0"),
        (damaged, "cannot be read"),
    ],
)
@driven
async def test_what_does_not_fit_is_passed_over_and_said(world, harm, reason):
    world.send(5)
    await written(world, Positions(5, 5))
    with capture_logs() as logs:
        harm(world)
        await killed(world)
        await world.taken()
    said = [entry for entry in logs if "rows on disk" in entry["event"]]
    assert [reason in f"{entry['event']} {entry.get('reason')}" for entry in said] == [True]
    assert world.app.seeks == [dict.fromkeys(world.owner.inputs, 0)], "all rows are read again"
    await world.read_all()
    assert world.faults() == []


@driven
async def test_a_file_from_which_there_is_more_to_read_than_the_rows_held_is_passed_over(world):
    world.send(3)
    await written(world, Positions(3, 3))
    world.owner._shared = replace(world.owner._shared, disk=None)  # noqa: SLF001 - as above
    world.send(1)
    await world.read_all()
    world.owner.offer_watermark(NOW + 10**9, {})
    await world.flushed()
    await killed(world)
    await world.taken()
    assert world.app.seeks == [dict.fromkeys(world.owner.inputs, 4)]
