"""What people read of an audit."""

import pytest

from stream_router.core.route import Route
from stream_router.core.routing.audit import Findings
from stream_router.views.audit import lines


@pytest.mark.parametrize(("since", "why"), [(None, "--since TIME judges those"), (1_000, "of them is deleted")])
def test_why_requests_are_not_judged_is_said_with_what_helps(since, why):
    shown = list(lines(Findings(before=2_000), Route("flights"), since, most=5))
    (line,) = (line for line in shown if "not judged" in line)
    assert line.startswith("2,000 before the first routed ones")
    assert why in line
