"""What a release is judged by: a module a metric, all behind one protocol.

Outcomes come in kinds (core/evidence.py), each of which is read by one metric or several. A rollout has one test a
metric, which is fed the closed blocks of its kind.
"""

from collections.abc import Mapping
from typing import Any, Literal, Protocol

from stream_router.core.deciding.blocks import Block
from stream_router.core.deciding.numbers import Counts, Numbers
from stream_router.core.evidence import RolloutStarted
from stream_router.core.policy import MetricName

Known = Literal["prediction", "label", "maturity"]
"""When an outcome is known: with the prediction, with its first label, or once no label counts any more."""


class MetricTest(Protocol):
    """What one metric says of one rollout. It is fed closed blocks in order."""

    def update(self, block: Block) -> Counts | None:
        """Bet on the block by what stable showed in earlier ones, and only then learn from it.

        Gives what was bet on, for the test in favour of canary; None where nothing was, or where fewer bad outcomes
        than stable's are no better.
        """

    @property
    def unhealthy(self) -> bool:
        """Final: once true nothing changes any more."""

    @property
    def e_value(self) -> float:
        """1 at the start, from 0 to the threshold: exactly that once unhealthy."""

    @property
    def threshold(self) -> float:
        """1 divided by the metric's part of alpha."""

    @property
    def numbers(self) -> Numbers: ...

    def sentence(self, stable: str, canary: str) -> str:
        """One, with its numbers; the arguments name lane and version, such as "canary 7"."""

    def state(self) -> dict[str, Any]:
        """For a snapshot: plain data, and numpy arrays."""

    def restore(self, state: Mapping[str, Any]) -> None:
        """Raises LookupError, TypeError or ValueError where the state is none."""


class Metric(Protocol):
    """kind: of the outcomes that it reads; unit: what one outcome stands for, "second" being a second of a lane."""

    @property
    def name(self) -> MetricName: ...

    @property
    def kind(self) -> str: ...

    @property
    def unit(self) -> Literal["request", "micro-batch", "second"]: ...

    @property
    def known(self) -> Known: ...

    def test(self, started: RolloutStarted, texts: Mapping[float, str]) -> MetricTest:
        """A new one; `texts` names values that are hashes of text, as far as they are known, and grows."""
