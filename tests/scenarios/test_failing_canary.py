"""A canary that only raises, on real servers."""

import pytest
from support.whole_loop import Loop

pytestmark = [pytest.mark.stack, pytest.mark.long, pytest.mark.timeout(240)]


def test_a_canary_that_only_raises_is_rolled_back_without_any_label(loop: Loop):
    loop.policy["prediction_deadline"] = 6
    loop.labelled = lambda _: False
    loop.start(stable="0.9", canary="raising")
    with loop.traffic(200):
        loop.set_split(0.2)
        event = loop.rolled_back()
    assert loop.read("ground-truth") == []
    assert (event.metric, event.verdict) == ("error_rate", "unhealthy")
    numbers = event.numbers
    assert numbers.canary_bad == numbers.canary_labels > 0
    assert numbers.stable_bad == 0
    assert event.reason.startswith(
        f"canary raising fails more often than stable 0.9: 100.0 % ({numbers.canary_bad:,} of "
        f"{numbers.canary_labels:,} sampled answers) against 0.0 % (0 of {numbers.stable_labels:,})"
    )
    assert loop.replayed(event) == [event]
