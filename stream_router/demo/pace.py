"""The pace of the replay, and the policy that fits it."""

from typing import Final

from stream_router.settings import PREFIX

SECONDS_PER_HOUR: Final = 0.2
"""An hour of 2013 in seconds of now: about 190 flights a second."""

LONGEST: Final = 750
"""Minutes within which every flight of the year is at a gate."""


def accelerated_policy() -> dict[str, str]:
    """Variables of the policy: the label horizon lets the longest flight land, with a second to spare."""
    policy = {
        "window": 1.0,
        "label_horizon": round(LONGEST / 60 * SECONDS_PER_HOUR + 1, 1),
        "block_time": 3.0,
        "prediction_deadline": 15.0,
    }
    return {f"{PREFIX}POLICY__{name.upper()}": str(seconds) for name, seconds in policy.items()}
