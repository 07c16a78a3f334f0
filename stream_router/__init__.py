"""Canary releases for ML models over Kafka.

All that is public stands here, in `stream_router.testing` and in the command line; everything else is private.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stream_router.adapters.avro.labels import encode_label
    from stream_router.adapters.avro.records import decode_prediction, decode_rollout_event, decode_windowed_accuracy
    from stream_router.core.deciding.numbers import Numbers
    from stream_router.core.deciding.windows import WindowedAccuracy
    from stream_router.core.lane import Lane
    from stream_router.core.rollout.rollout_event import RolloutEvent
    from stream_router.core.routing.header import Routing, parse_routing
    from stream_router.core.routing.partitioner import WeightedPartitioner, record_key
    from stream_router.core.routing.split import Split, parse_split
    from stream_router.core.scoring.prediction import Prediction, Value
    from stream_router.errors import (
        DecodeError,
        HeaderError,
        ModelError,
        NoAnswerError,
        RefusedError,
        SettingError,
        SplitError,
        StreamRouterError,
        UnreachableError,
    )
    from stream_router.processes.rollouts import Rollouts

__version__ = "0.1.0"

__all__ = [
    "DecodeError",
    "HeaderError",
    "Lane",
    "ModelError",
    "NoAnswerError",
    "Numbers",
    "Prediction",
    "RefusedError",
    "RolloutEvent",
    "Rollouts",
    "Routing",
    "SettingError",
    "Split",
    "SplitError",
    "StreamRouterError",
    "UnreachableError",
    "Value",
    "WeightedPartitioner",
    "WindowedAccuracy",
    "__version__",
    "decode_prediction",
    "decode_rollout_event",
    "decode_windowed_accuracy",
    "encode_label",
    "parse_routing",
    "parse_split",
    "record_key",
]

_MODULES = {
    "adapters.avro.labels": ("encode_label",),
    "adapters.avro.records": ("decode_prediction", "decode_rollout_event", "decode_windowed_accuracy"),
    "core.deciding.numbers": ("Numbers",),
    "core.deciding.windows": ("WindowedAccuracy",),
    "core.lane": ("Lane",),
    "core.rollout.rollout_event": ("RolloutEvent",),
    "core.routing.header": ("Routing", "parse_routing"),
    "core.routing.partitioner": ("WeightedPartitioner", "record_key"),
    "core.routing.split": ("Split", "parse_split"),
    "core.scoring.prediction": ("Prediction", "Value"),
    "processes.rollouts": ("Rollouts",),
    "errors": (
        "DecodeError",
        "HeaderError",
        "ModelError",
        "NoAnswerError",
        "RefusedError",
        "SettingError",
        "SplitError",
        "StreamRouterError",
        "UnreachableError",
    ),
}


def __getattr__(name: str) -> Any:
    """Import what is asked for, and nothing else: `stream-router --help` needs none of it."""
    for module, names in _MODULES.items():
        if name in names:
            return getattr(import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
