"""A route: one model endpoint under control, and the names that belong to it."""

import re
from dataclasses import dataclass
from typing import Literal

from stream_router.core.lane import Lane
from stream_router.errors import SettingError

RedisKey = Literal[
    "split", "applied", "rejected", "latch", "release", "models", "rollout", "history", "jobs", "digests", "routers"
]
Topic = Literal[
    "requests",
    "requests.stable",
    "requests.canary",
    "predictions",
    "ground-truth",
    "evidence",
    "verdict-state",
    "windowed-accuracy",
    "rollout-events",
    "splits",
    "dead-letters",
]
FOREIGN: tuple[Topic, ...] = ("requests", "ground-truth", "predictions")
"""Topics in whose place an existing topic of the user's may stand."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}")


@dataclass(frozen=True)
class Route:
    """Names of topics, groups, transactional ids and Redis keys of the route `name`.

    Raises SettingError for a name that Kafka or a Redis hash tag cannot carry.
    """

    name: str
    requests: str | None = None
    ground_truth: str | None = None
    predictions: str | None = None

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise SettingError(
                f"route {self.name!r} is not a name: use 1 to 100 letters, digits, '_' or '-', such as 'flights'",
            )

    def topic(self, topic: Topic) -> str:
        foreign = {
            "requests": self.requests,
            "ground-truth": self.ground_truth,
            "predictions": self.predictions,
        }.get(topic)
        return foreign or f"{self.name}.{topic}"

    def lane_topic(self, lane: Lane) -> str:
        return self.topic("requests.stable" if lane == "stable" else "requests.canary")

    def scoring_group(self, lane: Lane) -> str:
        return f"{self.name}.scoring.{lane}"

    @property
    def router_group(self) -> str:
        return f"{self.name}.router"

    @property
    def monitor_group(self) -> str:
        return f"{self.name}.monitor"

    @property
    def evidence_group(self) -> str:
        """The group without members whose offsets are the positions behind the evidence."""
        return f"{self.name}.evidence"

    @property
    def controller_group(self) -> str:
        return f"{self.name}.controller"

    def key(self, key: RedisKey) -> str:
        """Redis key; the hash tag keeps one route in one slot of a Redis Cluster."""
        return f"stream_router:{{{self.name}}}:{key}"
