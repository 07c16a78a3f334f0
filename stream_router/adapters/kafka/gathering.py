"""A batch that gathers over several polls, so that who waits long for one hears in between that it is to stop."""

from typing import Final

from stream_router.adapters.kafka.group import GroupMember
from stream_router.adapters.kafka.polling import Record

TURN: Final = 0.1
"""Seconds to wait in a poll at most: then the rest is looked at, whether to stop, and what else is due."""


class Gathering:
    """Of records that were polled."""

    def __init__(self) -> None:
        self._records: list[Record] = []
        self._since = 0.0

    def poll(self, member: GroupMember, count: int, idle: float, wait: float, now: float) -> list[Record] | None:
        """The batch, of at most `count`, empty where no record came, or None while it may grow.

        `idle`: seconds to wait for a first record, `wait`: for those that follow, from the first one on; `now` in
        seconds. Raises as GroupMember.poll does.
        """
        if not self._records:
            records = member.poll(count, idle, min(wait, TURN)).records
            if not records or len(records) >= count or wait <= TURN:
                return records
            self._records, self._since = records, now
            return None
        left = self._since + wait - now
        if left > 0:
            turn = min(left, TURN)
            self._records += member.poll(count - len(self._records), turn, turn).records
            if len(self._records) < count:
                return None
        gathered, self._records = self._records, []
        return gathered

    def clear(self) -> None:
        """What has been gathered is read again."""
        self._records = []
