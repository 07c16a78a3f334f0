"""Prometheus metrics: every name, with its unit and labels, is here.

Labels are bounded: route, lanes, topics and groups of the route, outcomes and reasons from fixed lists. Each metric has
one, so that a process serves only what it measures: one without labels is 0 from the start, in every process. The
comment above a group names the commands that serve it, from which docs/generate.py writes its table.
"""

from collections.abc import Mapping
from typing import Final

from prometheus_client import Counter, Gauge, Histogram

_SECONDS: Final = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)

# route
ROUTED: Final = Counter("stream_router_routed_total", "Requests routed and committed.", ["lane"])
SPLIT_EPOCH: Final = Gauge("stream_router_split_epoch", "Epoch of the split that requests are routed by.", ["route"])
CANARY_WEIGHT: Final = Gauge("stream_router_canary_weight_ratio", "Canary's weight in the split, 0 to 1.", ["route"])

# route, score
TRANSACTION_SECONDS: Final = Histogram(
    "stream_router_transaction_seconds",
    "From the first record of a transaction to its commit.",
    ["group"],
    buckets=_SECONDS,
)

# route, score, monitor
DEAD_LETTERS: Final = Counter("stream_router_dead_letters_total", "Records diverted.", ["topic", "reason"])

# score
SCORED: Final = Counter(
    "stream_router_scored_total",
    "Predictions written and committed, by outcome answered or error.",
    ["lane", "outcome"],
)
MODEL_SECONDS: Final = Histogram("stream_router_model_seconds", "One call of the model.", ["lane"], buckets=_SECONDS)
OTHER_VERSION: Final = Gauge(
    "stream_router_other_version_jobs",
    "1 where this job scores with another version than its lane has: its predictions count for no rollout.",
    ["lane"],
)

# monitor
LABELS: Final = Counter(
    "stream_router_labels_total",
    "Labels and predictions by outcome: joined, duplicate, revised, orphan, expired, refused or unattributed.",
    ["outcome"],
)
EVIDENCE_FLUSH_SECONDS: Final = Histogram(
    "stream_router_evidence_flush_seconds",
    "One transaction of evidence with its positions.",
    ["route"],
    buckets=_SECONDS,
)
OUTCOMES_NOT_WRITTEN: Final = Counter(
    "stream_router_outcomes_not_written_total",
    "Requests that the verdict does without, by reason: late or thinned.",
    ["reason"],
)
NOT_JUDGED: Final = Counter(
    "stream_router_not_judged_total",
    "Predictions that the route's bad could not judge, counted as bad: it raised, or returned no_boolean.",
    ["reason"],
)
JOIN_ROWS: Final = Gauge("stream_router_join_rows", "Predictions held for their labels.", ["route"])
WAITING_LABELS: Final = Gauge("stream_router_waiting_labels", "Labels held whose prediction has not come.", ["route"])
LAST_LABEL: Final = Gauge(
    "stream_router_last_label_timestamp_seconds", "Kafka time of the newest label read, since the epoch.", ["route"]
)
JOIN_LAG: Final = Gauge(
    "stream_router_join_lag_seconds", "Age of the time up to which the slowest partition has been read.", ["route"]
)
RECORDS_MISSED: Final = Counter(
    "stream_router_records_missed_total", "Offsets whose records were deleted before the monitor read them.", ["topic"]
)
WATERMARKS_REFUSED: Final = Counter(
    "stream_router_watermarks_refused_total",
    "Watermarks not written, since the clock was too far ahead of the brokers'.",
    ["route"],
)
E_VALUE: Final = Gauge(
    "stream_router_e_value",
    "The e-value against canary by metric: 1 at the start, 1 divided by its part of alpha where it is unhealthy.",
    ["route", "metric"],
)
HOLDS: Final = Gauge(
    "stream_router_holds",
    "1 where the rollout in force does not go on, or is not judged, for this reason: :rollout says more.",
    ["route", "reason"],
)
LANE_BEHIND: Final = Gauge(
    "stream_router_lane_behind_records",
    "Offsets of a lane that its scoring group has not committed yet, while canary has a share.",
    ["route", "lane"],
)
ROLLBACKS: Final = Counter("stream_router_rollbacks_total", "Rollbacks decided, and written to Kafka.", ["route"])
HELD: Final = Gauge(
    "stream_router_held_rollouts",
    "1 where the rollout in force is not judged because evidence of it was lost: a person has to act.",
    ["route"],
)
EVIDENCE_BEHIND: Final = Gauge(
    "stream_router_evidence_behind_records",
    "Records of R.evidence that a controller has yet to read before it acts.",
    ["route"],
)
OUTCOMES_LEFT_OUT: Final = Gauge(
    "stream_router_left_out_outcomes",
    "Outcomes of the rollout in force left out of its test: not_ours, one_sided, unattributed or repeats.",
    ["route", "reason"],
)
EVIDENCE_WATERMARKS_REFUSED: Final = Gauge(
    "stream_router_refused_watermarks",
    "Watermarks in R.evidence too far ahead of the broker's time, passed over by the controller.",
    ["route"],
)


class Served:
    """The gauges of whoever is not the only one to measure them: what it measures no more it serves no more."""

    def __init__(self) -> None:
        self._labels: dict[Gauge, set[tuple[str, ...]]] = {}

    def serve(self, gauge: Gauge, values: Mapping[tuple[str, ...], float]) -> None:
        """These values by labels, and no others that were served before."""
        for labels, value in values.items():
            gauge.labels(*labels).set(value)
        for labels in self._labels.get(gauge, set()) - values.keys():
            gauge.remove(*labels)
        self._labels[gauge] = set(values)

    def close(self) -> None:
        for gauge in self._labels:
            self.serve(gauge, {})
