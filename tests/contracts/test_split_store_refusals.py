"""A refused document leaves the split in force and explains itself once."""

import pytest
from support.split_acts import TENTH, THIRD, applied_of, happened, with_split
from support.split_benches import Bench

from stream_router.core.routing.proposal import Proposal

REFUSED = {
    "percent": b'{"stable": 90, "canary": 10}',
    "text": b'"10%"',
    "ratio": b'{"stable": 9, "canary": 1}',
    "sum 0.95": b'{"stable": 0.9, "canary": 0.05}',
    "unknown lane": b'{"stable": 0.9, "shadow": 0.1}',
    "no stable": b'{"canary": 1.0}',
    "a key twice": b'{"stable": 0.9, "canary": 0.1, "canary": 0.1}',
    "NaN": b'{"stable": NaN, "canary": 0.1}',
    "negative": b'{"stable": 1.1, "canary": -0.1}',
    "true": b'{"stable": true, "canary": 0}',
    "empty": b"",
    "not JSON": b"stable=0.9",
}


@pytest.mark.parametrize("raw", REFUSED.values(), ids=REFUSED)
def test_a_refused_document_changes_nothing_and_explains_itself_once(bench: Bench, raw: bytes) -> None:
    applied = with_split(bench)
    bench.store.propose(raw)
    for _ in range(3):
        assert applied_of(bench) == applied
    refusal = bench.store.rejected()
    assert refusal is not None
    assert (refusal.type, refusal.raw, refusal.code) == ("string", raw, "invalid")
    assert '{"stable": ' in refusal.why
    assert happened(bench) == ["applied", "refused"]
    assert bench.split() == raw


def test_a_deleted_split_changes_nothing_and_explains_itself_once(bench: Bench) -> None:
    applied = with_split(bench)
    bench.delete("split")
    for _ in range(3):
        assert applied_of(bench) == applied
    refusal = bench.store.rejected()
    assert refusal is not None
    assert refusal.type == "none"
    assert "missing" in refusal.why
    assert happened(bench) == ["applied", "refused"]


def test_a_list_in_place_of_the_split_changes_nothing_and_explains_itself_once(bench: Bench) -> None:
    applied = with_split(bench)
    bench.make_list("split")
    for _ in range(3):
        assert applied_of(bench) == applied
    refusal = bench.store.rejected()
    assert refusal is not None
    assert refusal.type == "list"
    assert "is a list" in refusal.why
    assert happened(bench) == ["applied", "refused"]


def test_missing_and_empty_are_different_refusals(bench: Bench) -> None:
    with_split(bench)
    bench.delete("split")
    applied_of(bench)
    bench.store.propose(b"")
    applied_of(bench)
    assert happened(bench) == ["applied", "refused", "refused"]


def test_after_a_refusal_the_next_good_document_is_in_force(bench: Bench) -> None:
    with_split(bench)
    bench.make_list("split")
    applied_of(bench)
    bench.delete("split")
    bench.store.propose(THIRD)
    assert applied_of(bench).canary == 0.3


def test_a_proposal_never_raises() -> None:
    assert Proposal.of("string", b"\xff\x00").refusal
    assert Proposal.of("string", b"[" * 4000).refusal
    assert Proposal.of("string", TENTH).canary == 0.1
