"""Where an owner goes on once the offsets of the group without members have expired: told by R.evidence itself."""

import pytest

from stream_router.adapters.kafka import evidence_log
from stream_router.adapters.kafka.evidence_log import EvidenceLog
from stream_router.core.evidence import Evidence, Positions
from stream_router.core.route import Route


class Ends:
    """A consumer that knows how many records of R.evidence there are."""

    def __init__(self, records: int) -> None:
        self._records = records

    def get_watermark_offsets(self, _partition, _timeout):
        return 0, self._records


def said(partition, at=None, watermark=None) -> Evidence:
    positions = None if at is None else Positions(at, at)
    return Evidence(by="w", written_at=0, partition=partition, positions=positions, watermark=watermark)


@pytest.mark.parametrize(
    ("records", "found"),
    [
        ([], (None, 0)),
        ([said(1, 5, 9)], (None, 0)),
        ([said(0, 5)], (Positions(5, 5), 0)),
        ([said(0, 5, 8), said(0, 6, 9)], (Positions(6, 6), 9)),
        ([said(0, 5, 9), said(1, 7, 20), said(0, 6), said(0)], (Positions(6, 6), 9)),
    ],
)
def test_the_newest_positions_and_the_newest_watermark_also_of_an_earlier_record(records, found, monkeypatch):
    """Without the watermark what has matured would be told of once more."""
    monkeypatch.setattr(evidence_log, "_BLOCK", 2)
    log = object.__new__(EvidenceLog)
    log.route = Route("r")
    monkeypatch.setattr(log, "_block", lambda _topic, first, end: records[first:end], raising=False)
    assert log._newest(Ends(len(records)), 0) == found
