"""What the owners of one process share."""

from dataclasses import dataclass
from typing import Literal

from stream_router.adapters.faust.chunks import ChunkApp
from stream_router.adapters.kafka.evidence_log import EvidenceLog
from stream_router.core.joining.agreement import Bad
from stream_router.core.policy import Policy
from stream_router.processes.clock_check import ClockCheck
from stream_router.processes.intake import Intake
from stream_router.processes.known_splits import KnownSplits
from stream_router.processes.rows_on_disk import RowsOnDisk

Side = Literal["predictions", "ground_truth"]
"""An input; also the name of its field in Positions."""


@dataclass(frozen=True, kw_only=True)
class Shared:
    """`worker` names the process in its evidence; `partitions` is how many the inputs have, here or elsewhere."""

    app: ChunkApp
    log: EvidenceLog
    policy: Policy
    worker: str
    partitions: int
    splits: KnownSplits
    intake: Intake
    clock: ClockCheck
    early_limit: int
    bad: Bad | None = None
    disk: RowsOnDisk | None = None
