"""A policy in words, and as documents."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final

import yaml

from stream_router.core.durations import duration_of
from stream_router.core.policy import ROUTE_SETTINGS, Limit, MetricPolicy, Policy, Role, Step

VERSION: Final = 1
"""Of the documents: raised when a field changes its meaning."""

_TIMES: Final = ("window", "label_horizon", "prediction_deadline")


def lines(policy: Policy) -> Iterator[str]:
    """What the policy does, for people."""
    yield "Forward"
    for number, step in enumerate(policy.steps, 1):
        yield f"  {number}. {_percent(step.weight)} of the requests{_until(step, is_last=step is policy.steps[-1])}"
    if not policy.steps:
        yield "  by hand alone"
    yield f"  then the promotion; stable's jobs have {duration_of(policy.promotion_deadline)} for it"
    yield f"Back, of healthy canaries at most {_percent(policy.alpha)}"
    yield f"  unhealthy (weight): {_judged(policy, 'guardrail')}"
    yield from (f"  {_limit(limit)}" for limit in policy.limits)
    yield "Held"
    yield f"  unhealthy (weight): {_judged(policy, 'signal')}"
    if policy.min_coverage:
        yield f"  less than {_percent(policy.min_coverage)} of the predictions are labelled"
    yield f"Healthy, of canaries that are worse by the margin at most {_percent(policy.beta)}"
    margins = [f"{one.name} ({one.margin:g})" for one in _of_role(policy, "guardrail")]
    yield f"  worse by less than the margin: {', '.join(margins) or 'nothing'}"
    yield f"No decision after {_without_decision(policy)}"
    becomes = "gets no more requests" if policy.on_inconclusive == "stable" else "keeps its share"
    yield f"  canary {becomes}, the rollout pauses, and a person is told"
    yield "Evidence"
    what, period = "request" if policy.assign_by == "request" else "key", policy.entity_period
    yield f"  each {what} counts once{'' if period is None else f' in {duration_of(period)}'}"
    ripe_age = "as long as labels of bad answers take" if policy.ripe_age is None else duration_of(policy.ripe_age)
    yield f"  it ripens for {ripe_age}"
    yield f"  it is bet on {duration_of(policy.block_age)} later at the latest"
    yield f"Route settings: {_route_settings(policy)}"
    yield f"Digest {policy.digest}"


def _until(step: Step, *, is_last: bool) -> str:
    gates = [f"{step.min_labels:,} labels"]
    if step.until == "healthy" or is_last:
        gates.append("every guardrail is healthy")
    if step.until == "approved":
        gates.append("a person approves")
    if step.pause:
        gates.append("a person resumes")
    held = f" for {duration_of(step.hold_for)} at least," if step.hold_for else ""
    return f"{held} until {' and '.join(filter(None, (', '.join(gates[:-1]), gates[-1])))}"


def _judged(policy: Policy, role: Role) -> str:
    return ", ".join(f"{one.name} ({one.weight:g})" for one in _of_role(policy, role)) or "nothing"


def _of_role(policy: Policy, role: Role) -> list[MetricPolicy]:
    return [one for one in policy.metrics if one.role == role]


def _limit(limit: Limit) -> str:
    is_below = limit.metric == "accuracy"
    bound = f"{limit.bound:g} s" if "latency" in limit.metric else f"{limit.bound:g}"
    return (
        f"{limit.metric} {'below' if is_below else 'above'} {bound} in the newest {limit.windows:,} windows with "
        f"{limit.predictions:,} predictions"
    )


def _without_decision(policy: Policy) -> str:
    most = f"{policy.max_labels:,} labels of canary"
    return most if policy.max_duration is None else f"{most} or {duration_of(policy.max_duration)}"


def _percent(ratio: float) -> str:
    return f"{100 * ratio:.6g} %"


def _route_settings(policy: Policy) -> str:
    return ", ".join(f"{name} {value}" for name, value in _settings(policy).items() if value)


def _settings(policy: Policy) -> dict[str, Any]:
    values = {name: getattr(policy, name) for name in ROUTE_SETTINGS}
    return {name: duration_of(value) if name in _TIMES else value for name, value in values.items()}


def yaml_text(route: str | None, policy: Policy, fields: Mapping[str, Any]) -> str:
    """`fields`: those of the policy's file."""
    of_route = f" of route {route}" if route else ""
    return (
        f"# The policy of the next rollout{of_route}, digest {policy.digest}, with the route settings\n"
        f"# {_route_settings(policy)}\n"
    ) + yaml.safe_dump(dict(fields), sort_keys=False, default_flow_style=None, width=120)


def document(route: str | None, policy: Policy, fields: Mapping[str, Any]) -> dict[str, Any]:
    """For `--output json`. Durations as in the file."""
    return {
        "version": VERSION,
        "route": route,
        "digest": policy.digest,
        "policy": dict(fields),
        "route_settings": _settings(policy),
    }


def checked(file: str, found: Policy | Sequence[Any]) -> dict[str, Any]:
    """For `--output json`: of a good file the policy in milliseconds, else each fault with line and column."""
    is_good = isinstance(found, Policy)
    return {
        "version": VERSION,
        "file": file,
        "valid": is_good,
        "digest": found.digest if isinstance(found, Policy) else None,
        "policy": asdict(found) if isinstance(found, Policy) else None,
        "faults": [] if isinstance(found, Policy) else [fault._asdict() for fault in found],
    }
