"""What is known of the rollout in force, and the reasons for which it may not go on."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple, get_args

from stream_router.core.deciding.fold import EvidenceFold, Summary
from stream_router.core.lane import Lane
from stream_router.core.policy import MetricName, Policy
from stream_router.core.rollout.lane_look import LaneLook
from stream_router.core.routing.applied_split import AppliedSplit, Versions

Rule = Literal[
    "unjudged",
    "silent_lane",
    "no_scoring_job",
    "stale_evidence",
    "limits_unchecked",
    "no_data",
    "no_predictions",
    "late",
    "not_ours",
    "other_settings",
    "no_labels",
    "labels_stopped",
    "few_labels",
    "no_agreement",
    "entities_used_up",
    "max_labels",
]
HoldReason = Rule | MetricName
"""A metric's name: it is a signal, and unhealthy."""

REASONS: Final[tuple[HoldReason, ...]] = (*get_args(Rule), *get_args(MetricName))


class Hold(NamedTuple):
    reason: HoldReason
    sentence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """What is known of the rollout in force at `now`; times in milliseconds since the epoch.

    since: when canary first had a share. policy, versions, ripe_age: as it started with, or would. last_label_at: Kafka
    time of the newest label that gave an outcome, None where none has been seen. looks: by lane, where there are any.
    joined_by: the policy that the monitor joins by now.
    """

    now: int
    in_force: AppliedSplit
    since: int
    policy: Policy
    versions: Versions
    ripe_age: int
    fold: EvidenceFold
    summary: Summary | None
    looks: Mapping[Lane, LaneLook]
    last_label_at: int | None = None
    joined_by: Policy | None = None
