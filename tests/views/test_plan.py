"""What people and scripts read of a plan."""

import json

import pytest

from stream_router.core.deciding.plan import Plan, Run, forecast
from stream_router.core.policy import Policy
from stream_router.views.durations import duration_text
from stream_router.views.plan import document, lines

PLAN = Plan(policy=Policy(), accuracy=0.9, drop=0.05, share=0.1, rate=50.0, label_delay=7_200_000)


def test_it_says_labels_time_and_requests_of_both_canaries():
    found = forecast(PLAN, [Run(280, None)] * 10, [*[Run(None, 1_500)] * 9, Run(40, None)])
    shown = "\n".join(lines(PLAN, found))
    assert "median                 280       2 h 2 min                        36,580" in shown
    assert "1 d" in shown
    assert "wrongly, in 1 of 10 runs (at most 3.0% of all rollouts)" in shown


def test_it_says_where_no_run_is_decided():
    shown = "\n".join(lines(PLAN, forecast(PLAN, [Run(None, None)], [Run(None, None)])))
    assert shown.count("in none of 1 runs within the policy's max_labels") == 2


def test_the_document_is_json_with_a_version():
    read = json.loads(json.dumps(document(PLAN, forecast(PLAN, [Run(280, None)], [Run(None, None)]))))
    assert read["version"] == 1
    assert read["bad_canary"]["rolled_back"]["labels"] == [280, 280, 280]
    assert read["good_canary"]["passed"]["labels"] is None


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.2, "0.2 s"), (45, "45 s"), (60, "1 min"), (3599, "59 min 59 s"), (7_500, "2 h 5 min"), (90_000, "1 d 1 h")],
)
def test_durations_have_two_units_at_most(seconds, text):
    assert duration_text(seconds) == text
