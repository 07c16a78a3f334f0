"""Acts on a bench that tests of the contract share."""

from support.split_benches import Bench

from stream_router.core.routing.applied_split import AppliedSplit
from stream_router.core.routing.control_view import ControlView
from stream_router.core.routing.proposal import Step
from stream_router.core.routing.split_store import ReadAgain, Refusal, StepRefused

TENTH = b'{"stable": 0.9, "canary": 0.1}'
THIRD = b'{"stable": 0.7, "canary": 0.3}'
NONE = b'{"stable": 1, "canary": 0}'


def call(
    bench: Bench, view: ControlView | None = None, step: Step | None = None
) -> AppliedSplit | ReadAgain | StepRefused:
    told = list[Refusal | None]()
    reply = bench.store.call(
        view or ControlView(), bench.store.look(), now=1_000, who="test", step=step, on_rejected=told.append
    )
    assert told == ([bench.store.rejected()] if isinstance(reply, AppliedSplit) else [])
    return reply


def applied_of(bench: Bench, view: ControlView | None = None, step: Step | None = None) -> AppliedSplit:
    reply = call(bench, view, step)
    assert isinstance(reply, AppliedSplit), reply
    return reply


def with_split(bench: Bench, raw: bytes = TENTH) -> AppliedSplit:
    bench.put_model("stable", "s1")
    bench.put_model("canary", "c1")
    bench.store.propose(raw)
    return applied_of(bench)


def rolled_back(rollout: int) -> ControlView:
    return ControlView(latch=rollout, latch_reason="13.9 points worse")


def happened(bench: Bench) -> list[str]:
    return [entry["what"] for entry in reversed(bench.store.history(100))]
