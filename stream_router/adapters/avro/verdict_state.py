"""The records of R.verdict-state: parts of a snapshot of the fold of R.evidence."""

from dataclasses import asdict, dataclass
from typing import Final

from stream_router.adapters.avro.codec import Codec

_CODEC: Final = Codec.of("verdict_state")


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Fields as in schemas/verdict_state."""

    offset: int
    part: int
    parts: int
    format: int
    body: bytes


def encode_part(part: Part) -> bytes:
    """The value of a record of R.verdict-state."""
    return _CODEC.encode(asdict(part))


def decode_part(data: bytes | None) -> Part:
    """Raises DecodeError."""
    return Part(**_CODEC.decode(data))
