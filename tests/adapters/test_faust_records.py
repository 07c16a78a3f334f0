"""aiokafka's records with header names that are not UTF-8."""

import pytest
from aiokafka.consumer.fetcher import READ_COMMITTED, PartitionRecords
from aiokafka.record.default_records import _DefaultRecordBatchBuilderPy
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.structs import TopicPartition
from support.raw_headers import raw_name

from stream_router.adapters.faust.records import _PartitionRecords, _Records

NAMES = [(b"plain", b"\xff\xfe", b"plain"), (b"", b"caf\xc3\xa9", b"half \xc3", b"\xed\xa0\x80")]


def encoded(codec, *records):
    builder = _DefaultRecordBatchBuilderPy(2, codec, 0, -1, -1, 0, 1_000_000)
    for offset, names in enumerate(records):
        headers = [(raw_name(name), name or None) for name in names]
        builder.append(offset, 1_000 + offset, key=b"k", value=b"v" * 100, headers=headers)
    return bytes(builder.build())


def read(records):
    found = []
    while records.has_next():
        batch = records.next_batch()
        assert batch.validate_crc()
        found += [(r.offset, r.timestamp, r.key, r.value, list(r.headers)) for r in batch]
    return found


@pytest.mark.parametrize("codec", range(5))
def test_a_batch_is_read_whole_whatever_its_header_names_are(codec):
    data = encoded(codec, (b"a",), *NAMES, ())
    with pytest.raises(UnicodeDecodeError):
        read(MemoryRecords(data))
    found = read(_Records(data))
    assert [record[:4] for record in found] == [(n, 1_000 + n, b"k", b"v" * 100) for n in range(4)]
    assert [[content for _, content in record[4]] for record in found[1:3]] == [
        [name or None for name in names] for names in NAMES
    ]
    assert [name for name, _ in found[1][4]] == ["plain", r"\xff\xfe", "plain"]
    assert [name for name, _ in found[2][4]] == ["", "café", r"half \xc3", r"\xed\xa0\x80"]


@pytest.mark.parametrize("codec", range(5))
def test_of_other_batches_nothing_is_changed(codec):
    data = encoded(codec, (b"a", "ü".encode()), (), (b"",)) * 2
    assert read(_Records(data)) == read(MemoryRecords(data))


@pytest.mark.parametrize("after", [0, 1])
def test_of_a_partition_all_is_read_that_is_told_of_a_record(after):
    data = encoded(0, (b"a",), *NAMES[:1], ())
    partition = TopicPartition("topic", 3)
    ours, theirs = (
        reader(partition, _Records(data), [], after, None, None, True, READ_COMMITTED)
        for reader in (_PartitionRecords, PartitionRecords)
    )
    names = ("offset", "timestamp", "timestamp_type", "key", "value")
    found, expected = (
        [(*(getattr(record, name) for name in names), tuple(record.headers)) for record in records]
        for records in (ours, theirs)
    )
    assert found == expected
    assert len(found) == 3 - after
    assert ours.next_fetch_offset == theirs.next_fetch_offset == 3
