"""A status as the controller shows one."""

from stream_router.core.deciding.numbers import Status
from stream_router.core.rollout.status import RolloutStatus, TrialStatus

STATUS = RolloutStatus(
    phase="Manual",
    rollout=3,
    epoch=7,
    canary_weight=0.1,
    window=60_000,
    label_horizon=86_400_000,
    alpha=0.05,
    remark="catching up: 5 of 10 records of evidence read (50 %)",
    never_started=2,
    refused_watermarks=3,
)
TRIAL = TrialStatus(
    verdict=Status.INCONCLUSIVE,
    metric="accuracy",
    e_value=1.5,
    threshold=20.0,
    blocks=2,
    stable_labels=180,
    stable_bad=18,
    canary_labels=20,
    canary_bad=3,
    unripe=40,
    summary="too few labels",
    waiting=5,
    repeats=6,
    not_ours=7,
    one_sided=8,
    unattributed=9,
)
