"""Acts on a bench that tests of the contract share."""

from support.law_benches import Bench

from stream_router.core.routing.knowledge import Knowledge
from stream_router.core.routing.law import Law
from stream_router.core.routing.law_store import ReadAgain, StepRefused
from stream_router.core.routing.proposal import Step

TENTH = b'{"stable": 0.9, "canary": 0.1}'
THIRD = b'{"stable": 0.7, "canary": 0.3}'
NONE = b'{"stable": 1, "canary": 0}'


def call(bench: Bench, knowledge: Knowledge | None = None, step: Step | None = None) -> Law | ReadAgain | StepRefused:
    return bench.store.call(knowledge or Knowledge(), bench.store.look(), now=1_000, who="test", step=step)


def law_of(bench: Bench, knowledge: Knowledge | None = None, step: Step | None = None) -> Law:
    reply = call(bench, knowledge, step)
    assert isinstance(reply, Law), reply
    return reply


def with_law(bench: Bench, raw: bytes = TENTH) -> Law:
    bench.put_model("stable", "s1")
    bench.put_model("canary", "c1")
    bench.store.propose(raw)
    return law_of(bench)


def rolled_back(rollout: int) -> Knowledge:
    return Knowledge(latch=rollout, latch_reason="13.9 points worse")


def happened(bench: Bench) -> list[str]:
    return [entry["what"] for entry in reversed(bench.store.history(100))]
