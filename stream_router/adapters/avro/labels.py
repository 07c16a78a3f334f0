"""Between labels and the Avro records of R.ground-truth."""

from typing import Final

from stream_router.adapters.avro.codec import Codec
from stream_router.core.joining.label import Label
from stream_router.core.scoring.prediction import Value

_CODEC: Final = Codec.of("ground_truth")


def encode_label(request_id: str, value: Value) -> bytes:
    """The value of a record of R.ground-truth; the label's time is the record's Kafka timestamp."""
    return _CODEC.encode({"request_id": request_id, "value": value})


def decode_label(data: bytes | None, time: int, offset: int) -> Label:
    """`time` and `offset` are those of the record. Raises DecodeError."""
    record = _CODEC.decode(data)
    return Label(record["request_id"], record["value"], time, offset)
