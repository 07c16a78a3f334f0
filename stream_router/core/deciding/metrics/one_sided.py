"""What the metrics share that ask whether canary is worse: one e-process on which of a block's outcomes are bad."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Final

import numpy as np

from stream_router.core.deciding.blocks import Block
from stream_router.core.deciding.e_process import Capital, EProcess
from stream_router.core.deciding.numbers import Counts, Numbers, Totals
from stream_router.core.evidence import Flags
from stream_router.core.policy import MetricName, Policy


class OneSidedTest(ABC):
    """See MetricTest. A metric says which outcomes are bad, and in which words canary is worse.

    Null: canary's odds of a bad outcome are at most `psi0` times stable's.
    """

    def __init__(self, policy: Policy, name: MetricName, psi0: float = 1.0) -> None:
        self._process: Final = EProcess(
            alpha=policy.alpha * policy.metric(name).weight, psi0=psi0, max_labels=policy.max_labels
        )
        self._totals = Totals()

    def bad(self, block: Block) -> tuple[Flags, Flags] | None:
        """Which outcomes of stable and of canary are bad: those told so. None where nothing can be bet yet."""
        return block.stable["bad"], block.canary["bad"]

    def learn(self, block: Block) -> None:
        """From a block, for those to come."""
        del block

    @abstractmethod
    def sentence(self, stable: str, canary: str) -> str: ...

    def update(self, block: Block) -> Counts | None:
        if self.unhealthy:
            return None
        bad, counts = self.bad(block), None
        if bad is not None:
            e_a, e_b = (int(np.count_nonzero(flags)) for flags in bad)
            counts = Counts(len(block.stable), e_a, len(block.canary), e_b)
            self._process.update(n_a=len(block.stable), n_b=len(block.canary), e_a=e_a, e_b=e_b)
            self._totals.add(*counts)
        self.learn(block)
        return counts

    @property
    def unhealthy(self) -> bool:
        return self._process.unhealthy

    @property
    def e_value(self) -> float:
        return self._process.e_value

    @property
    def threshold(self) -> float:
        return self._process.threshold

    @property
    def numbers(self) -> Numbers:
        return self._totals.numbers(self.e_value, self.threshold)

    def state(self) -> dict[str, Any]:
        return {"capital": asdict(self._process.state), "totals": asdict(self._totals)}

    def restore(self, state: Mapping[str, Any]) -> None:
        capital = Capital(**state["capital"])
        capital.log_invested = np.asarray(capital.log_invested, np.float64)
        self._process.state, self._totals = capital, Totals(**state["totals"])
