"""The router's work in quixstreams: exactly once, a tenth of the keys to canary, one header added.

python benchmarks/quix_router.py BROKERS SOURCE STABLE CANARY SECONDS, with quix.py's interpreter; ended by SIGTERM. It
cannot choose the partition, which the key decides anew, and a commit every SECONDS is a transaction.
"""

import sys
import zlib
from typing import Any

from quix_application import application

HEADER = ("stream-router", b"epoch=1;split=1f3a9c0b77d2;rollout=3;t=1795420000123")


def to_canary(_value: Any, key: bytes, _timestamp: int, _headers: Any) -> bool:
    return zlib.crc32(key) % 1000 < 100


def to_stable(value: Any, key: bytes, timestamp: int, headers: Any) -> bool:
    return not to_canary(value, key, timestamp, headers)


def with_header(_value: Any, _key: bytes, _timestamp: int, headers: Any) -> list[tuple[str, bytes]]:
    return [*(headers or ()), HEADER]


def main(brokers: str, source: str, stable: str, canary: str, seconds: float) -> None:
    app = application(brokers, source, seconds)
    requests, *lanes = (
        app.topic(name, key_deserializer="bytes", value_deserializer="bytes", key_serializer="bytes",
                          value_serializer="bytes")
        for name in (source, stable, canary)
    )
    frame = app.dataframe(requests).set_headers(with_header)
    frame.filter(to_stable, metadata=True).to_topic(lanes[0])
    frame.filter(to_canary, metadata=True).to_topic(lanes[1])
    app.run()


if __name__ == "__main__":
    main(*sys.argv[1:5], float(sys.argv[5]))
