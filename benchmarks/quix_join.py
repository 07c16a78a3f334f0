"""The monitor's join in quixstreams: exactly once, both sides kept for an hour in its store.

python benchmarks/quix_join.py BROKERS PREDICTIONS LABELS OUTPUT SECONDS, with quix.py's interpreter: ended by SIGTERM.
The values are not decoded, only made into what the store can hold. A transaction stays open for SECONDS.
"""

import sys
from datetime import timedelta

from quix_application import application

KEPT = timedelta(hours=1)


def as_text(value: bytes) -> str:
    return value.decode("latin-1")


def as_bytes(value: str) -> bytes:
    return value.encode("latin-1")


def main(brokers: str, predictions: str, labels: str, output: str, seconds: float) -> None:
    app = application(brokers, predictions, seconds)
    left, right = (
        app.dataframe(app.topic(name, key_deserializer="bytes", value_deserializer="bytes")).apply(as_text)
        for name in (predictions, labels)
    )
    joined = left.join_interval(
        right, on_merge=lambda one, other: one + other, grace_ms=KEPT, backward_ms=KEPT, forward_ms=KEPT
    )
    joined.apply(as_bytes).to_topic(app.topic(output, key_serializer="bytes", value_serializer="bytes"))
    app.run()


if __name__ == "__main__":
    main(*sys.argv[1:5], float(sys.argv[5]))
