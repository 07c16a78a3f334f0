"""What is said about a rollout, with the numbers it is said from."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from stream_router.core.deciding.numbers import Numbers, Status
from stream_router.core.lane import Lane
from stream_router.core.policy import Role
from stream_router.core.routing.applied_split import Versions


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """By one metric, or by a plain rule, which has no numbers: metric is "limit:" and the limit's name, or "silence".

    role: what follows where it is unhealthy. epoch, digest, deciding_label_at: of the newest closed block, with its
    newest outcome's time; None before one. By a plain rule: the newest split known, and no time. offset: of the record
    of R.evidence at which it fell. policy_digest: of the policy in the rollout's start record.
    """

    metric: str
    role: Role
    status: Status
    rollout: int
    epoch: int | None
    digest: str | None
    stable_version: str | None
    canary_version: str | None
    deciding_label_at: int | None
    offset: int
    numbers: Numbers | None
    reason: str
    policy_digest: str | None = None

    @property
    def rolls_back(self) -> bool:
        return self.status is Status.UNHEALTHY and self.role == "guardrail"

    def state(self) -> dict[str, Any]:
        """For a snapshot."""
        return asdict(self)

    @classmethod
    def restored(cls, state: Mapping[str, Any]) -> "Verdict":
        """Raises LookupError, TypeError or ValueError where the state is none."""
        numbers = state["numbers"] and Numbers(**state["numbers"])
        return cls(**{**state, "status": Status(state["status"]), "numbers": numbers})


def overall(verdicts: Sequence[Verdict]) -> Verdict | None:
    """The one that speaks for all, of equals the first: what is unhealthy, else the worst guardrail.

    So a rollout is healthy once every guardrail is and no signal is unhealthy: a signal asks for no proof that all is
    well, and most have none to give. Without guardrails the worst signal; None without verdicts.
    """
    unhealthy = [one for one in verdicts if one.status is Status.UNHEALTHY]
    guardrails = [one for one in verdicts if one.role == "guardrail"]
    return max(unhealthy or guardrails or verdicts, key=lambda one: one.status.badness, default=None)


def named(lane: Lane, versions: Versions) -> str:
    """The lane as sentences name it, such as "canary 7"."""
    return f"{lane} {getattr(versions, lane) or '(any version)'}"
