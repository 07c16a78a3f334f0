"""The predictions of a batch as records of R.predictions: what they have in common is encoded once.

As `encode_prediction` writes them one by one, and several times as fast; tests hold the two equal.
https://avro.apache.org/docs/1.12.0/specification/#binary-encoding
"""

import struct
from functools import lru_cache

from stream_router.adapters.avro.codec import Codec
from stream_router.core.routing.header import Routing
from stream_router.core.scoring.model_output import ModelOutput
from stream_router.core.scoring.prediction import Value

_HEAD = Codec.of("prediction").head
_NULL, _ELSE = b"\x00", b"\x02"
_double = struct.Struct("<d").pack


class PredictionBatch:
    """Fields and units as in schemas/prediction."""

    def __init__(
        self,
        *,
        lane: str,
        scored_at: int,
        model_version: str,
        model_digest: str | None,
        batch_id: str,
        batch_size: int,
        model_seconds: float,
    ) -> None:
        self._lane = _text(lane)
        self._batch = _long(scored_at) + _text(model_version) + _optional_text(model_digest) + _text(batch_id)
        self._size = _long(batch_size) + _double(model_seconds)
        self._routing: Routing | None = None
        self._routed = b""

    def encode(
        self, request_id: str, key: bytes | None, routing: Routing, requested_at: int, index: int, output: ModelOutput
    ) -> bytes:
        """The value of one; `index` is its place in the batch."""
        if routing is not self._routing:
            self._routing, self._routed = routing, self._lane + _routing(routing)
        return b"".join(
            (
                _HEAD,
                _text(request_id),
                _NULL if key is None else _ELSE + _long(len(key)) + key,
                self._routed,
                _long(requested_at),
                self._batch,
                _long(index),
                self._size,
                _value(output.value),
                _optional_text(output.error),
            )
        )


def _routing(routing: Routing) -> bytes:
    return _long(routing.rollout) + _long(routing.epoch) + _text(routing.digest) + _long(routing.routed_at)


@lru_cache(maxsize=10_000)  # lengths, places in a batch and the milliseconds of requests come again and again
def _long(number: int) -> bytes:
    """Zigzag, then seven bits a byte, the lowest first."""
    left, found = (number << 1) ^ (number >> 63), bytearray()
    while rest := left >> 7:
        found.append(left & 0x7F | 0x80)
        left = rest
    found.append(left)
    return bytes(found)


def _text(text: str) -> bytes:
    content = text.encode()
    return _long(len(content)) + content


def _optional_text(text: str | None) -> bytes:
    return _NULL if text is None else _ELSE + _text(text)


def _value(value: Value | None) -> bytes:
    """Of the union of null, boolean, long, double and string."""
    if value is None:
        return _NULL
    if isinstance(value, bool):
        return b"\x02\x01" if value else b"\x02\x00"
    if isinstance(value, int):
        return b"\x04" + _long(value)
    if isinstance(value, float):
        return b"\x06" + _double(value)
    return b"\x08" + _text(value)
