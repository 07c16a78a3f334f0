"""The phases of a rollout."""

from typing import Final, Literal

from stream_router.core.routing.control_view import ControlView

Phase = Literal["Idle", "Manual", "Starting", "Progressing", "Paused", "Promoting", "Promoted", "RolledBack", "Aborted"]
"""Idle: canary has no share. Manual: an operator's split. Starting: no scoring job of canary serves the version yet.
Progressing: at a step. Paused: the weight stays until a person goes on. Promoting: stable's jobs change to the version.
Promoted: all requests are stable's, with the version. RolledBack: by a verdict, or an undone promotion. Aborted: rolled
back by a person.
"""

LED: Final[frozenset[Phase]] = frozenset({"Starting", "Progressing", "Paused", "Promoting"})
"""In these the controller leads the rollout."""


def phase_of(view: ControlView) -> Phase:
    """The phase that R.splits and the rollbacks alone tell, of a rollout that nobody leads."""
    in_force = view.in_force
    if in_force.canary > 0:
        return "Manual"
    return "RolledBack" if view.latch is not None and view.latch == in_force.rollout > 0 else "Idle"
