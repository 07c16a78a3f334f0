"""A refused document leaves the law in force and explains itself once."""

import pytest
from support.law_acts import TENTH, THIRD, happened, law_of, with_law
from support.law_benches import Bench

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
    law = with_law(bench)
    bench.store.propose(raw)
    for _ in range(3):
        assert law_of(bench) == law
    refusal = bench.store.rejected()
    assert refusal is not None
    assert (refusal.type, refusal.raw, refusal.code) == ("string", raw, "invalid")
    assert '{"stable": ' in refusal.why
    assert happened(bench) == ["applied", "refused"]
    assert bench.split() == raw


def test_a_deleted_split_changes_nothing_and_explains_itself_once(bench: Bench) -> None:
    law = with_law(bench)
    bench.delete("split")
    for _ in range(3):
        assert law_of(bench) == law
    refusal = bench.store.rejected()
    assert refusal is not None
    assert refusal.type == "none"
    assert "missing" in refusal.why
    assert happened(bench) == ["applied", "refused"]


def test_a_list_in_place_of_the_split_changes_nothing_and_explains_itself_once(bench: Bench) -> None:
    law = with_law(bench)
    bench.make_list("split")
    for _ in range(3):
        assert law_of(bench) == law
    refusal = bench.store.rejected()
    assert refusal is not None
    assert refusal.type == "list"
    assert "is a list" in refusal.why
    assert happened(bench) == ["applied", "refused"]


def test_missing_and_empty_are_different_refusals(bench: Bench) -> None:
    with_law(bench)
    bench.delete("split")
    law_of(bench)
    bench.store.propose(b"")
    law_of(bench)
    assert happened(bench) == ["applied", "refused", "refused"]


def test_after_a_refusal_the_next_good_document_is_law(bench: Bench) -> None:
    with_law(bench)
    bench.make_list("split")
    law_of(bench)
    bench.delete("split")
    bench.store.propose(THIRD)
    assert law_of(bench).canary == 0.3


def test_a_proposal_never_raises() -> None:
    assert Proposal.of("string", b"\xff\x00").refusal
    assert Proposal.of("string", b"[" * 4000).refusal
    assert Proposal.of("string", TENTH).canary == 0.1
