"""What a log says of a model's errors: each kind once a minute, with how many there were."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, NamedTuple

EVERY: Final = 60_000
"""Milliseconds."""

_KINDS: Final = 100
"""Kinds that are told apart; more are one."""


class ErrorReport(NamedTuple):
    """Of one kind: how many since the last report of it, and one of them."""

    kind: str
    errors: int
    error: str
    request_id: str


@dataclass
class _Kind:
    told_at: int
    untold: int = 0


class ErrorTally:
    """Times in milliseconds. A kind is what stands before the first colon, such as an exception's name."""

    def __init__(self) -> None:
        self._kinds: dict[str, _Kind] = {}

    def on_errors(self, errors: Iterable[tuple[str, str]], now: int) -> list[ErrorReport]:
        """What is to be told of a batch's errors, each with its request's id before it."""
        batch: dict[str, tuple[int, str, str]] = {}
        for request_id, error in errors:
            kind = error.partition(":")[0]
            kind = kind if kind in self._kinds or len(self._kinds) < _KINDS else "others"
            count, _, _ = batch.get(kind, (0, "", ""))
            batch[kind] = (count + 1, error, request_id)
        reports = []
        for kind, (count, error, request_id) in batch.items():
            held = self._kinds.setdefault(kind, _Kind(now - EVERY))
            held.untold += count
            if now - held.told_at >= EVERY:
                reports.append(ErrorReport(kind, held.untold, error, request_id))
                held.told_at, held.untold = now, 0
        return reports
