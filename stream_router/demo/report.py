"""How the demo ended, in sentences and as a document; and why, where it did not end as it should. No I/O."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from stream_router.core.lane import CANARY, LANES, STABLE, Lane
from stream_router.core.rollout.status import RolloutStatus
from stream_router.core.routing.applied_split import Models
from stream_router.core.routing.split_store import Refusal
from stream_router.demo.ledger import Ledger, Rollback
from stream_router.demo.pace import LONGEST, SECONDS_PER_HOUR
from stream_router.views.lane_count import LaneCount
from stream_router.views.report import accuracy_text, e_value_text, lane_document


class Result(NamedTuple):
    """`seconds` of the whole run; `watched` those from the operator's SET to the rollback's event being read."""

    route: str
    split: str
    lanes: Mapping[Lane, LaneCount]
    rollback: Rollback
    watched: float
    seconds: float


def sentences(result: Result) -> list[str]:
    rollback = result.rollback
    stable, canary = rollback.since[STABLE], rollback.since[CANARY]
    took = "" if rollback.seconds is None else f"{rollback.seconds:.2f} s after the deciding label and "
    return [
        f"Rolled back {result.watched:.1f} s after the SET: {rollback.event.reason}",
        f"The bad model answered {rollback.answered:,} requests.",
        f"Without the canary release it would have answered {rollback.without_canary:,}: all that came in that time.",
        f"Routing was rolled back {took}{rollback.seconds_from_verdict:.2f} s after the verdict.",
        f"Since then {stable:,} requests went to stable and {canary:,} to canary.",
    ]


def document(result: Result) -> dict[str, Any]:
    """For `--output json`; accuracies are ratios, times seconds."""
    rollback = result.rollback
    event, numbers = rollback.event, rollback.event.numbers
    return {
        "verdict": "rolled back",
        "reason": event.reason,
        "route": result.route,
        "split": result.split,
        "rollout": event.rollout,
        "metric": event.metric,
        "evidence": numbers and numbers.e_value,
        "threshold": numbers and numbers.threshold,
        "lanes": {lane: lane_document(result.lanes[lane]) for lane in LANES},
        "bad_model_answered": rollback.answered,
        "without_canary_release": rollback.without_canary,
        "seconds_from_set_to_rollback": round(result.watched, 3),
        "seconds_from_deciding_label_to_rollback": rollback.seconds,
        "seconds_from_verdict_to_rollback": rollback.seconds_from_verdict,
        "since_rollback": rollback.since,
        "seconds": round(result.seconds, 1),
    }


def waits_to_begin(ledger: Ledger, models: Models, labels: int) -> str:
    """What comes next before canary gets its share, once stable has so many labels."""
    stable = ledger.lane(STABLE)
    if stable.requests == 0:
        return "the processes to start and the first request to be routed"
    if ledger.answered[STABLE] == 0:
        return "stable's model to be loaded and to answer"
    if stable.labelled == 0:
        longest = LONGEST / 60 * SECONDS_PER_HOUR
        return f"the first labels: a flight's comes when it has landed, up to {longest:.1f} s later"
    if None in (models.stable, models.canary):
        return "both scoring jobs to load their models"
    return f"{labels:,} labels of stable before canary gets its share"


def waits_for_rollback(ledger: Ledger, status: RolloutStatus | None) -> str | None:
    """What comes next before the rollback; None where the e-value tells."""
    if not ledger.canary_epochs:
        return "the router to obey the split"
    if ledger.answered[CANARY] == 0:
        return "canary's first answers"
    if ledger.event is None and _tested(status) == 0:
        return "the first block of labels that are old enough to be bet on"
    return None


def why_not(ledger: Ledger, status: RolloutStatus | None, refusal: Refusal | None) -> str:
    """Why no rollback came; the first link of the chain that is missing."""
    answered, errors, canary = ledger.answered[CANARY], ledger.errors[CANARY], ledger.lane(CANARY)
    if refusal is not None:
        why = f"the split was refused: {refusal.why}"
    elif not ledger.canary_epochs:
        why = "no router has written to the splits topic that the split is in force"
    elif ledger.event is not None:
        why = f"a rollback was ordered ({ledger.event.reason}), but no request has been routed by it"
    elif answered == 0:
        why = f"of canary's {canary.requests:,} requests none was answered and {errors:,} are errors"
    elif canary.labelled == 0:
        why = f"none of canary's {answered:,} predictions has met its label"
    else:
        why = (
            f"there is {e_value_text(status)} against canary after {_tested(status)} canary labels in the test; "
            f"accuracy {accuracy_text(canary)} in canary, {accuracy_text(ledger.lane(STABLE))} in stable"
        )
    return why


def _tested(status: RolloutStatus | None) -> int:
    """Canary's labels that accuracy was judged by."""
    if status is None or status.trial is None:
        return 0
    labels = [metric.canary_outcomes for metric in status.metrics if metric.name == "accuracy"]
    return labels[0] if labels else status.trial.canary_labels
