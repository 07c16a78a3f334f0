"""The phases of a rollout."""

from typing import Literal

from stream_router.core.routing.control_view import ControlView

Phase = Literal["Idle", "Manual", "RolledBack"]
"""Idle: canary has no share. Manual: an operator's split. RolledBack: the rollout in force was rolled back."""


def phase_of(view: ControlView) -> Phase:
    """The phase that R.splits and R.rollout-events tell."""
    in_force = view.in_force
    if in_force.canary > 0:
        return "Manual"
    return "RolledBack" if view.latch is not None and view.latch == in_force.rollout > 0 else "Idle"
