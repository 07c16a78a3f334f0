"""As much of confluent_kafka's AdminClient as looks at lanes."""

from types import SimpleNamespace
from typing import Any

from confluent_kafka import KafkaException


class ScriptedAdmin:
    """`members` by group: one that has none is unknown to the broker, as a new one is, and shown as dead."""

    def __init__(self) -> None:
        self.members: dict[str, int] = {}
        self.errors: dict[str, Any] = {}
        self.fails: KafkaException | None = None

    def list_groups(self, group: str, _timeout: float) -> list[Any]:
        if self.fails:
            raise self.fails
        return [SimpleNamespace(members=[object()] * self.members.get(group, 0), error=self.errors.get(group))]
