"""Dead letters: records that can never be handled, and how many of them are too many."""

from dataclasses import dataclass
from typing import Final

from stream_router.errors import DeadLetterLimitError

REASON_HEADER: Final = "stream-router-dead-letter"
REASON_BYTES: Final = 1_024
"""A reason may quote the record; a dead letter has to fit its topic."""

_FEW: Final = 1_000
"""Records before a ratio says anything."""


def reason_of(error: Exception) -> str:
    """Why a record is a dead letter, at most REASON_BYTES of UTF-8; lone surrogates are spelt out."""
    return str(error).encode(errors="backslashreplace")[:REASON_BYTES].decode(errors="ignore")


def dead_letter_headers(
    *, topic: str, partition: int, offset: int, stage: str, error: Exception
) -> list[tuple[str, bytes]]:
    """The headers to add, under Kafka Connect's names, and the reason under ours, too, for who looks for either.

    `stage` is the command that could not handle it, with its lane if it has one: "route", "score canary", "monitor".
    """
    return [
        ("__connect.errors.topic", topic.encode()),
        ("__connect.errors.partition", str(partition).encode()),
        ("__connect.errors.offset", str(offset).encode()),
        ("__connect.errors.stage", stage.encode()),
        ("__connect.errors.exception.class.name", type(error).__name__.encode()),
        ("__connect.errors.exception.message", reason_of(error).encode()),
        (REASON_HEADER, reason_of(error).encode()),
    ]


@dataclass
class DeadLetterLimit:
    """Stops a process that would otherwise divert everything: by ratio over all records and by count in a row."""

    ratio: float
    consecutive: int
    records: int = 0
    dead: int = 0
    in_a_row: int = 0

    def on_records(self, count: int) -> None:
        if count:
            self.records += count
            self.in_a_row = 0

    def on_dead_letter(self, error: Exception) -> None:
        """Raises DeadLetterLimitError past a limit."""
        self.records += 1
        self.dead += 1
        self.in_a_row += 1
        if self.in_a_row > self.consecutive:
            raise DeadLetterLimitError(
                f"{self.in_a_row} dead letters in a row, more than {self.consecutive}; the last: {reason_of(error)}. "
                "Mend the producer, or raise dead_letters.consecutive",
            )
        if self.records >= _FEW and self.dead > self.ratio * self.records:
            raise DeadLetterLimitError(
                f"{self.dead} of {self.records} records are dead letters, more than {self.ratio:.0%}; the last: "
                f"{reason_of(error)}. Mend the producer, or raise dead_letters.ratio",
            )
