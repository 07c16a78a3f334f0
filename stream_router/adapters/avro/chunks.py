"""Fetched records decoded into columns, as the join reads them."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from stream_router.adapters.avro.labels import decode_label
from stream_router.adapters.avro.records import decode_prediction
from stream_router.core.joining.columns import Labels, Origin, Predictions
from stream_router.errors import DecodeError


def decode_predictions(records: Sequence[Any]) -> tuple[Predictions, list[tuple[Any, DecodeError]]]:
    good, bad = [], []
    for record in records:
        try:
            good.append((record, decode_prediction(record.value)))
        except DecodeError as error:
            bad.append((record, error))

    def integers(values):
        return np.array(list(values), np.int64)

    return Predictions(
        offset=integers(r.offset for r, _ in good),
        time=integers(r.timestamp for r, _ in good),
        request_id=[p.request_id for _, p in good],
        entity=[p.key for _, p in good],
        origin=[Origin(p.epoch, p.digest, p.rollout, p.lane, p.model_version) for _, p in good],
        routed_at=integers(p.routed_at for _, p in good),
        requested_at=integers(p.requested_at for _, p in good),
        scored_at=integers(p.scored_at for _, p in good),
        batch_index=integers(p.batch_index for _, p in good),
        batch_size=integers(p.batch_size for _, p in good),
        model_seconds=np.array([p.model_seconds for _, p in good], np.float64),
        value=[None if p.error is not None else p.value for _, p in good],
        is_error=np.array([p.error is not None for _, p in good], np.bool_),
    ), bad


def decode_labels(records: Sequence[Any]) -> tuple[Labels, list[tuple[Any, DecodeError]]]:
    good, bad = [], []
    for record in records:
        try:
            good.append(decode_label(record.value, record.timestamp, record.offset))
        except DecodeError as error:
            bad.append((record, error))
    return Labels(
        offset=np.array([x.offset for x in good], np.int64),
        time=np.array([x.time for x in good], np.int64),
        request_id=[x.request_id for x in good],
        value=[x.value for x in good],
    ), bad
