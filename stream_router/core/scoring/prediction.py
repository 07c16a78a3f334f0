"""A prediction: one scored request, errors included."""

from dataclasses import dataclass

Value = bool | int | float | str
"""A model's output, and what a label says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """Fields and units as in schemas/prediction: times in milliseconds since the epoch."""

    request_id: str
    key: bytes | None
    lane: str
    rollout: int
    epoch: int
    digest: str
    routed_at: int
    requested_at: int
    scored_at: int
    model_version: str
    model_digest: str | None
    batch_id: str
    batch_index: int
    batch_size: int
    model_seconds: float
    value: Value | None
    error: str | None
