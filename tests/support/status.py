"""A status as the controller shows one."""

from stream_router.core.deciding.numbers import Status
from stream_router.core.rollout.status import MetricStatus, RolloutStatus, TrialStatus

STATUS = RolloutStatus(
    phase="Manual",
    rollout=3,
    epoch=7,
    canary_weight=0.1,
    window=60.0,
    label_horizon=86_400.0,
    alpha=0.05,
    says="canary 7 gets 10 % of the requests, as an operator set it",
    written_at=1_795_420_000.123,
    ripe_age=600.5,
    verdict_from=1_795_420_600.0,
    last_label_at=1_795_419_999.999,
    holds=("no label has come", 'labels: "none", \u00e4h'),
    limits=("limit error_rate: error rate 1.0 % (3 of 300 requests in 3 windows)", "limit accuracy: ä"),
    remark="catching up: 5 of 10 records of evidence read (50 %)",
    never_started=2,
    refused_watermarks=3,
)
METRICS = (
    MetricStatus(
        name="accuracy",
        role="guardrail",
        verdict=Status.INCONCLUSIVE,
        sentence="canary 7 is not shown to be less accurate than stable 6",
        e_value=1.5,
        threshold=1 / 0.03,
        stable_outcomes=180,
        stable_bad=18,
        canary_outcomes=20,
        canary_bad=3,
    ),
    MetricStatus(name="silence", role="guardrail", verdict=Status.UNHEALTHY, sentence="canary 7 does not answer"),
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
