"""When a window has matured: its labels that count have all been read, whatever clocks differ."""

from stream_router.core.policy import CLOCK_SKEW_MS, Policy


def first_immature(policy: Policy, watermark: int) -> int:
    """The start of the first window that has not matured when all has been read up to the watermark.

    All times in milliseconds since the epoch.
    """
    return policy.window_start(watermark - policy.matures_after - CLOCK_SKEW_MS) + policy.window


def watermark_past(policy: Policy, routed_at: int) -> int:
    """The least watermark by which the window of what was routed then has matured, in milliseconds since the epoch."""
    return policy.window_start(routed_at) + policy.matures_after + CLOCK_SKEW_MS
