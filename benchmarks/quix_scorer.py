"""A scoring job's work in quixstreams: exactly once, a constant model, a prediction in JSON for each request.

python benchmarks/quix_scorer.py BROKERS LANE PREDICTIONS SECONDS, with quix.py's interpreter; ended by SIGTERM.
"""

import re
import sys
import time
import uuid
from typing import Any

from constant_model import load
from quix_application import application

FORM = re.compile(rb"epoch=(\d{1,18});split=([0-9a-f]{12});rollout=(\d{1,18});t=(\d{1,18})")
BATCH = uuid.uuid4().hex[:12]
predict = load("7")


def score(row: dict[str, Any], key: bytes, timestamp: int, headers: Any) -> dict[str, Any]:
    """The fields of schemas/prediction."""
    found = FORM.fullmatch(dict(headers)["stream-router"])
    if found is None:
        raise ValueError(headers)
    epoch, digest, rollout, routed_at = found.groups()
    begun = time.perf_counter()
    [value] = predict([row])
    return {
        "request_id": row["request_id"],
        "key": key.decode(),
        "lane": "canary",
        "rollout": int(rollout),
        "epoch": int(epoch),
        "digest": digest.decode(),
        "routed_at": int(routed_at),
        "requested_at": timestamp,
        "scored_at": time.time_ns() // 1_000_000,
        "model_version": "7",
        "model_digest": None,
        "batch_id": BATCH,
        "batch_index": 0,
        "batch_size": 1,
        "model_seconds": time.perf_counter() - begun,
        "value": value,
        "error": None,
    }


def id_of(prediction: dict[str, Any]) -> bytes:
    request_id: str = prediction["request_id"]
    return request_id.encode()


def main(brokers: str, lane: str, predictions: str, seconds: float) -> None:
    app = application(brokers, lane, seconds)
    requests = app.topic(lane, key_deserializer="bytes", value_deserializer="json")
    target = app.topic(predictions, key_serializer="bytes", value_serializer="json")
    app.dataframe(requests).apply(score, metadata=True).to_topic(target, key=id_of)
    app.run()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], float(sys.argv[4]))
