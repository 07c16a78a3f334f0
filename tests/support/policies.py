"""Route settings and policy fields together, as tests name them: as the core's policy, and for processes."""

import json
from pathlib import Path
from typing import Any

from stream_router.core.policy import ROUTE_SETTINGS, Policy
from stream_router.policies.policy_file import PolicyFile
from stream_router.settings import RouteSettings


def policy_with(**fields: Any) -> Policy:
    """Times in seconds."""
    of_route, of_policy = _parted(fields)
    return PolicyFile(**of_policy).to_policy(RouteSettings(**of_route).to_policy())


def variables(file: Path, **fields: Any) -> dict[str, str]:
    """Variables of processes that have the same policy; the file is written."""
    of_route, of_policy = _parted(fields)
    file.write_text(json.dumps(of_policy))
    return {
        **{f"STREAM_ROUTER_ROUTE__{name.upper()}": str(value) for name, value in of_route.items()},
        "STREAM_ROUTER_POLICY": str(file),
    }


def _parted(fields: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    of_route = {name: value for name, value in fields.items() if name in ROUTE_SETTINGS}
    return of_route, {name: value for name, value in fields.items() if name not in ROUTE_SETTINGS}
