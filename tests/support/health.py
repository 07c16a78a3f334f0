"""What a process says of itself over HTTP."""

import json
import re
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

from support.processes import Command
from support.waiting import wait_until


def get(url: str) -> tuple[int, str]:
    """Status and body."""
    try:
        with urlopen(url, timeout=10) as answer:  # noqa: S310 - an address that a test serves
            return answer.status, answer.read().decode()
    except HTTPError as refused:
        return refused.code, refused.read().decode()


def started(command: Command) -> dict[str, Any]:
    """The first line of its log, which has to be JSON."""
    first: dict[str, Any] = json.loads(
        wait_until(lambda: "\n" in command.stderr and command.stderr, 30, "a first line").splitlines()[0]
    )
    return first


def wait_until_ready(address: str) -> dict[str, Any]:
    """What /readyz beside the metrics at this address says once it is."""
    url = address.replace("/metrics", "/readyz")
    wait_until(lambda: get(url)[0] == 200, 30, f"{url} to say that it is ready")
    conditions: dict[str, Any] = json.loads(get(url)[1])["conditions"]
    return conditions


def is_ready(command: Command) -> bool:
    """Of one whose log names where its metrics are served."""
    found = re.search(r"http://\S+/metrics", command.stderr)
    return found is not None and get(found[0].replace("/metrics", "/readyz"))[0] == 200
