"""What one process knows of Kafka being away, and which lost identities that excuses."""

import time
from collections import Counter
from collections.abc import Callable

import structlog
from confluent_kafka import KafkaError

_log = structlog.get_logger()


def _unheard(why: str | None) -> None:
    del why


class Outages:
    """Noted by clients (`on_error` is their error_cb) and by calls that fail; over once Kafka has done what was asked.

    `number` counts them. `on_change` is called with the reason when one begins, with None when it is over.
    """

    def __init__(self, on_change: Callable[[str | None], None] = _unheard) -> None:
        self.on_change = on_change
        self.number, self._began = 0, 0.0
        self._excused = Counter[str]()
        self.away = False

    def on_error(self, error: KafkaError) -> None:
        if error.code() == KafkaError._ALL_BROKERS_DOWN:  # noqa: SLF001 - librdkafka's own code is spelt so
            self.note(error.str())

    def note(self, why: str) -> None:
        if self.away:
            return
        self.away, self._began = True, time.monotonic()
        self.number += 1
        _log.warning("Kafka does not answer, trying again", why=why)
        self.on_change(why)

    def over(self) -> None:
        if not self.away:
            return
        self.away = False
        _log.info("Kafka answers again", seconds=round(time.monotonic() - self._began, 1))
        self.on_change(None)

    def excuse(self, identity: str) -> bool:
        """Whether an outage explains that this identity was lost: each excuses it once.

        Without one another live process has it. Two that took it back again and again would shut each other out for
        ever.
        """
        if self._excused[identity] == self.number:
            return False
        self._excused[identity] = self.number
        return True
