"""For users' tests: a route's keys without a Redis, and the records of its topics without a broker.

`FakeSplitStore` follows the rules of the real one, in memory. What stands beside it here is what its methods take and
return, and the other side of each of a user's encoders and decoders.
"""

from stream_router.adapters.avro.labels import decode_label
from stream_router.adapters.avro.records import encode_prediction, encode_rollout_event, encode_windowed_accuracy
from stream_router.core.deciding.numbers import Status
from stream_router.core.joining.label import Label
from stream_router.core.rollout.status import MetricStatus, RolloutStatus, TrialStatus
from stream_router.core.route import Route
from stream_router.core.routing.applied_split import AppliedSplit, Models, Versions
from stream_router.core.routing.control_view import ControlView
from stream_router.core.routing.proposal import Proposal, Step
from stream_router.core.routing.split_store import Latch, ReadAgain, Refusal, StepRefused, call_until_read
from stream_router.testing.rules import Keys
from stream_router.testing.split_store import FakeSplitStore

__all__ = [
    "AppliedSplit",
    "ControlView",
    "FakeSplitStore",
    "Keys",
    "Label",
    "Latch",
    "MetricStatus",
    "Models",
    "Proposal",
    "ReadAgain",
    "Refusal",
    "RolloutStatus",
    "Route",
    "Status",
    "Step",
    "StepRefused",
    "TrialStatus",
    "Versions",
    "call_until_read",
    "decode_label",
    "encode_prediction",
    "encode_rollout_event",
    "encode_windowed_accuracy",
]
