"""The records of R.evidence: all that the decision sees, in order. Fields and units as in schemas/evidence."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from stream_router.core.policy import Policy
from stream_router.core.routing.applied_split import Versions

ACCURACY: Final = "accuracy"
"""The metric of outcomes that come with a first label: bad is wrong."""

MAX_OUTCOMES: Final = 2_000
"""Outcomes that one record may hold: a topic takes about 1 MB a record."""


class Outcome(NamedTuple):
    """One prediction met its first label. Written once."""

    window: int
    epoch: int
    digest: str
    rollout: int
    lane: str
    model_version: str
    metric: str
    entity: int
    order: int
    delay: int
    labelled_at: int
    bad: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Count:
    """Changes of the counts of one window, rollout, lane and version; histograms map bucket to change."""

    window: int
    rollout: int
    lane: str
    model_version: str
    predicted: int = 0
    errors: int = 0
    labelled: int = 0
    correct: int = 0
    revised: int = 0
    delays: Mapping[int, int] = field(default_factory=dict)
    latencies: Mapping[int, int] = field(default_factory=dict)


@dataclass(slots=True)
class Tally:
    """A Count while it grows."""

    predicted: int = 0
    errors: int = 0
    labelled: int = 0
    correct: int = 0
    revised: int = 0
    delays: Counter[int] = field(default_factory=Counter)
    latencies: Counter[int] = field(default_factory=Counter)

    def add(self, count: "Count | Tally") -> None:
        self.predicted += count.predicted
        self.errors += count.errors
        self.labelled += count.labelled
        self.correct += count.correct
        self.revised += count.revised
        # update, not +=: a correction may take a bucket below another partition's share of it
        self.delays.update(count.delays)
        self.latencies.update(count.latencies)


class StableBadDelay(NamedTuple):
    """A bad outcome of stable while no rollout has a number."""

    window: int
    delay: int


class Silence(NamedTuple):
    """A lane that does not answer."""

    lane: str
    rollout: int
    oldest_routed_at: int
    unanswered: int


class Positions(NamedTuple):
    """Next offsets of both inputs of one partition."""

    predictions: int
    ground_truth: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutStarted:
    """Control record: outcomes of the rollout count from here on. `ripe_age` in milliseconds."""

    rollout: int
    versions: Versions
    ripe_age: int
    first_offset: int
    policy: Policy


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochInForce:
    """Control record: a split came into force."""

    epoch: int
    digest: str
    rollout: int
    weights: Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """One record of R.evidence."""

    by: str
    written_at: int
    partition: int | None = None
    positions: Positions | None = None
    watermark: int | None = None
    outcomes: tuple[Outcome, ...] = ()
    counts: tuple[Count, ...] = ()
    stable_bad_delays: tuple[StableBadDelay, ...] = ()
    silences: tuple[Silence, ...] = ()
    rollout_started: RolloutStarted | None = None
    epoch_in_force: EpochInForce | None = None
