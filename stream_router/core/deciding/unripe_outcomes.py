"""Outcomes that wait until their window is old enough to be bet on."""

from stream_router.core.evidence import Outcome
from stream_router.core.policy import Policy


class UnripeOutcomes:
    """Outcomes of one input partition and window ripen together, by that partition's own watermarks.

    `ripe_age` is in milliseconds after the window's end.
    """

    def __init__(self, policy: Policy, ripe_age: int) -> None:
        self._ripe_after = policy.window + ripe_age
        self._waiting: dict[tuple[int, int], list[Outcome]] = {}

    def is_ripe(self, window: int, watermark: int | None) -> bool:
        return watermark is not None and window + self._ripe_after <= watermark

    def add(self, partition: int, outcome: Outcome) -> None:
        self._waiting.setdefault((partition, outcome.window), []).append(outcome)

    def ripen(self, partition: int, watermark: int) -> list[Outcome]:
        """The outcomes that the watermark makes ripe, in the order in which the test takes them."""
        ripe = [key for key in self._waiting if key[0] == partition and self.is_ripe(key[1], watermark)]
        return sorted((outcome for key in ripe for outcome in self._waiting.pop(key)), key=request_order)

    def __len__(self) -> int:
        """Outcomes that wait."""
        return sum(map(len, self._waiting.values()))


def request_order(outcome: Outcome) -> tuple[int, int]:
    """By window, then by the hash of the request id: never by the labels' arrival, which may depend on the outcome."""
    return outcome.window, outcome.order
