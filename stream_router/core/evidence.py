"""The records of R.evidence: all that the decision sees, in order. Fields and units as in schemas/evidence."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from stream_router.core.policy import Policy
from stream_router.core.routing.applied_split import Versions

ACCURACY: Final = "accuracy"
"""Outcomes that come with the first label of an answer: bad is wrong. One a request; an error is no answer."""

ERROR: Final = "error"
"""Outcomes that come with a prediction: bad is an error. One a micro-batch, which may fail as a whole: its row with
index 0."""

PREDICTION: Final = "prediction"
"""Outcomes that come with a prediction: value is what was predicted, NaN where nothing was. A number or a truth value
is itself, text the 53 higher bits of its xxh3_64. One a request."""

LATENCY: Final = "latency"
"""Seconds from the request's Kafka timestamp to its scoring, as value. One a micro-batch: its row with index 0."""

MODEL_LATENCY: Final = "model_latency"
"""Seconds that the model took for the whole micro-batch, as value. One a micro-batch: its row with index 0."""

LABELLING: Final = "labelling"
"""Outcomes that come once no label counts any more: bad is revised; value is the delay of the first label in
milliseconds, NaN where none came. One a request."""

MAX_OUTCOMES: Final = 20_000
"""Outcomes that one record may hold: a topic takes about 1 MB a record."""

STABLE_PER_CANARY: Final = 20
"""Outcomes of stable for each of canary, at most, that go into evidence: more teach almost nothing."""

Integers = npt.NDArray[np.int64]
Doubles = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]


class OutcomeKey(NamedTuple):
    """What outcomes of one column have in common; `metric` is one of the six kinds above, each read by its metrics."""

    window: int
    epoch: int
    digest: str
    rollout: int
    lane: str
    model_version: str
    metric: str


class Outcome(NamedTuple):
    """One row of Outcomes: a prediction met its first label, or came. Written once."""

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
    time: int
    bad: bool = False
    value: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Outcomes:
    """n outcomes of one key, in columns of shape (n,).

    `bad` is None where only the value is known, `value` where bad is all that there is to know.
    """

    key: OutcomeKey
    entity: Integers
    order: Integers
    delay: Integers
    time: Integers
    bad: Flags | None
    value: Doubles | None = None

    def __len__(self) -> int:
        return len(self.order)

    def __eq__(self, other: object) -> bool:
        """Whether key and every column are equal."""
        if not isinstance(other, Outcomes):
            return NotImplemented
        return self.key == other.key and list(self.rows()) == list(other.rows())

    __hash__ = None  # type: ignore[assignment]  # arrays have none

    def rows(self) -> Iterator[Outcome]:
        """One by one, in order."""
        columns: list[Iterable[Any]] = [self.entity.tolist(), self.order.tolist()]
        columns += [self.delay.tolist(), self.time.tolist()]
        columns.append([False] * len(self) if self.bad is None else self.bad.tolist())
        columns.append([None] * len(self) if self.value is None else self.value.tolist())
        return (Outcome(*self.key, *row) for row in zip(*columns, strict=True))

    def part(self, chosen: "slice | Integers | Flags") -> "Outcomes":
        """Those at the chosen places."""
        return Outcomes(
            key=self.key,
            entity=self.entity[chosen],
            order=self.order[chosen],
            delay=self.delay[chosen],
            time=self.time[chosen],
            bad=None if self.bad is None else self.bad[chosen],
            value=None if self.value is None else self.value[chosen],
        )


def in_columns(rows: Iterable[Outcome]) -> tuple[Outcomes, ...]:
    """The rows by key, in the order in which keys and rows come."""
    by_key: dict[OutcomeKey, list[Outcome]] = {}
    for row in rows:
        by_key.setdefault(OutcomeKey(*row[:7]), []).append(row)
    return tuple(_column(key, found) for key, found in by_key.items())


def _column(key: OutcomeKey, rows: list[Outcome]) -> Outcomes:
    values = [row.value for row in rows]
    return Outcomes(
        key=key,
        entity=np.array([row.entity for row in rows], np.int64),
        order=np.array([row.order for row in rows], np.int64),
        delay=np.array([row.delay for row in rows], np.int64),
        time=np.array([row.time for row in rows], np.int64),
        bad=np.array([row.bad for row in rows], np.bool_),
        value=None if None in values else np.array(values, np.float64),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Count:
    """Changes of the counts of one window, rollout, lane and version; histograms map bucket to change."""

    window: int
    rollout: int
    lane: str
    model_version: str
    predicted: int = 0
    errors: int = 0
    late: int = 0
    labelled: int = 0
    correct: int = 0
    revised: int = 0
    delays: Mapping[int, int] = field(default_factory=dict)
    latencies: Mapping[int, int] = field(default_factory=dict)
    model_latencies: Mapping[int, int] = field(default_factory=dict)


@dataclass(slots=True)
class Tally:
    """A Count while it grows."""

    predicted: int = 0
    errors: int = 0
    late: int = 0
    labelled: int = 0
    correct: int = 0
    revised: int = 0
    delays: Counter[int] = field(default_factory=Counter)
    latencies: Counter[int] = field(default_factory=Counter)
    model_latencies: Counter[int] = field(default_factory=Counter)

    def add(self, count: "Count | Tally") -> None:
        self.predicted += count.predicted
        self.errors += count.errors
        self.late += count.late
        self.labelled += count.labelled
        self.correct += count.correct
        self.revised += count.revised
        # update, not +=: a correction may take a bucket below another partition's share of it
        self.delays.update(count.delays)
        self.latencies.update(count.latencies)
        self.model_latencies.update(count.model_latencies)


@dataclass(frozen=True, slots=True)
class BadDelays:
    """Stable's bad answers of a window by the age at which their first label came: bucket to number."""

    window: int
    delays: Mapping[int, int]


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
    """Control record: outcomes of the rollout count from here on.

    ripe_age: after it outcomes may be bet on, since bad ones are labelled by then; label_age: after it accuracy may be
    held against a limit, since all are; None, which is the label horizon, in records of older versions. Milliseconds
    after a window's end.
    """

    rollout: int
    versions: Versions
    ripe_age: int
    first_offset: int
    policy: Policy
    label_age: int | None = None

    @property
    def labelled_after(self) -> int:
        """The label age, or the label horizon where it is not known."""
        return self.policy.label_horizon if self.label_age is None else self.label_age


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochInForce:
    """Control record: a split came into force, at `since` (ms since the epoch), which old records do not tell."""

    epoch: int
    digest: str
    rollout: int
    weights: Mapping[str, float]
    since: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """One record of R.evidence.

    `texts`: what values of PREDICTION that are hashes of text stand for, each told once by an owner, while
    it has room.
    `appended_at`, in milliseconds since the epoch, is no field of it: the broker's time, where the topic has that.
    """

    by: str
    written_at: int
    partition: int | None = None
    positions: Positions | None = None
    watermark: int | None = None
    outcomes: tuple[Outcomes, ...] = ()
    counts: tuple[Count, ...] = ()
    bad_delays: tuple[BadDelays, ...] = ()
    silences: tuple[Silence, ...] = ()
    texts: Mapping[float, str] = field(default_factory=dict)
    rollout_started: RolloutStarted | None = None
    epoch_in_force: EpochInForce | None = None
    appended_at: int | None = None


def share_of_outcomes(canary_share: float) -> float:
    """Canary's fraction of the outcomes in evidence, where it has `canary_share` of the requests: stable is thinned."""
    return max(canary_share, 1 / (1 + STABLE_PER_CANARY))
