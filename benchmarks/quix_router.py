"""The router's work in quixstreams: exactly once, a tenth of the keys to canary, one header added.

python benchmarks/quix_router.py BROKERS SOURCE STABLE CANARY SECONDS, with quix.py's interpreter: ended by SIGTERM. The
partition cannot be kept, it is chosen anew by the key. A transaction stays open for SECONDS.
"""

import sys
import zlib
from typing import Any

from quix_application import application

HEADER = ("stream-router", b"epoch=1;split=1f3a9c0b77d2;rollout=3;t=1795420000123")


def with_header(_value: Any, _key: bytes, _timestamp: int, headers: Any) -> list[tuple[str, bytes]]:
    return [*(headers or ()), HEADER]


def main(brokers: str, source: str, lanes: list[str], seconds: float) -> None:
    app = application(brokers, source, seconds)
    requests = app.topic(source, key_deserializer="bytes", value_deserializer="bytes")
    stable, canary = (app.topic(lane, key_serializer="bytes", value_serializer="bytes") for lane in lanes)

    def lane_of(_value: Any, key: bytes, _timestamp: int, _headers: Any) -> Any:
        return canary if zlib.crc32(key) % 1000 < 100 else stable

    app.dataframe(requests).set_headers(with_header).to_topic(lane_of)
    app.run()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3:5], float(sys.argv[5]))
