"""The pace of the replay, and the policy that fits it."""

from pathlib import Path
from typing import Final

from stream_router.settings import PREFIX

SECONDS_PER_HOUR: Final = 0.2
"""An hour of 2013 in seconds of now: about 190 flights a second."""

LONGEST: Final = 750
"""Minutes within which every flight of the year is at a gate."""


def accelerated(folder: Path) -> dict[str, str]:
    """Variables of the route, whose label horizon lets the longest flight land, with a second to spare, and of a policy
    file, which is written.
    """
    route = {
        "window": 1.0,
        "label_horizon": round(LONGEST / 60 * SECONDS_PER_HOUR + 1, 1),
        "prediction_deadline": 15.0,
    }
    file = folder / "policy.yaml"
    file.write_text("block_time: 3s\n")
    of_route = {f"{PREFIX}ROUTE__{name.upper()}": str(seconds) for name, seconds in route.items()}
    return {**of_route, f"{PREFIX}POLICY": str(file)}
