"""What a planned rollout needs, for people and for scripts."""

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any, Final

from stream_router.core.deciding.plan import Forecast, Plan, Spread
from stream_router.views.durations import duration_text

VERSION: Final = 1
"""Of the document: raised when a field changes its meaning."""


def document(plan: Plan, found: Forecast) -> dict[str, Any]:
    """For `--output json`. Times in seconds; each triple is (10 %, median, 90 %) of the runs that got the verdict."""
    policy = plan.policy
    return {
        "version": VERSION,
        "accuracy": plan.accuracy,
        "drop": plan.drop,
        "share": plan.share,
        "rate": plan.rate,
        "label_delay": plan.label_delay / 1000,
        "labelled": plan.labelled,
        "alpha": policy.alpha * policy.metric("accuracy").weight,
        "margin": policy.metric("accuracy").margin,
        "max_labels": policy.max_labels,
        "bad_canary": {"rolled_back": asdict(found.bad_found), "passed_in_runs": found.bad_passed},
        "good_canary": {"passed": asdict(found.good_passed), "rolled_back_in_runs": found.good_rolled_back},
    }


def lines(plan: Plan, found: Forecast) -> Iterator[str]:
    """For people."""
    policy, metric = plan.policy, plan.policy.metric("accuracy")
    yield (
        f"Canary gets {plan.share:.3g} of {plan.rate:,.3g} requests/s; labels come after "
        f"{duration_text(plan.label_delay / 1000)}, for {plan.labelled:.0%} of them."
    )
    yield ""
    yield f"A canary with accuracy {plan.accuracy - plan.drop:.3f} against stable's {plan.accuracy:.3f} is rolled back"
    yield from _table(found.bad_found)
    if found.bad_passed:
        yield f"  shown to be healthy before in {found.bad_passed} of {found.bad_found.of} runs"
    yield ""
    yield f"A canary as good as stable is shown to be worse by less than {metric.margin:g}"
    yield from _table(found.good_passed)
    alpha = policy.alpha * metric.weight
    yield (
        f"  rolled back before, wrongly, in {found.good_rolled_back} of {found.good_passed.of} runs "
        f"(at most {alpha:.1%} of all rollouts)"
    )
    yield ""
    yield "Each label is counted as one of another key: where the same keys come back, it takes as many distinct keys."


def _table(spread: Spread) -> Iterator[str]:
    if spread.labels is None or spread.seconds is None or spread.requests is None:
        yield f"  in none of {spread.of} runs within the policy's max_labels"
        return
    yield f"  {'':12}{'canary labels':>14}  {'until then':>14}  {'requests answered by canary':>28}"
    for number, name in ((1, "median"), (0, "10 % of runs"), (2, "90 % of runs")):
        labels, seconds, requests = spread.labels[number], spread.seconds[number], spread.requests[number]
        yield f"  {name:12}{labels:>14,.0f}  {duration_text(seconds):>14}  {requests:>28,.0f}"
    yield f"  in {spread.runs} of {spread.of} runs"
