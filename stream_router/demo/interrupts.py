"""SIGINT and SIGTERM as an exception that comes once, and only where it is wanted."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Self


class Interrupted(BaseException):
    """The user wants to end; no error, and nothing that `except Exception` may swallow."""


class Interrupts:
    """While it is entered, signals are noted, and raised as Interrupted inside `raising()`.

    So what cleans up outside of that block is never cut short, and what must not be torn, such as the start of a
    process and the note of its id, stands in `held()`.
    """

    def __init__(self) -> None:
        self.came = False
        self._raises = False
        self._before: dict[int, object] = {}

    def __enter__(self) -> Self:
        self._before = {number: signal.signal(number, self._on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            # Who asked once need not ask again; and unlike a handler of ours this outlives the interpreter's end.
            signal.signal(number, signal.SIG_IGN if self.came else handler)  # type: ignore[arg-type]  # what signal.signal returned

    @contextmanager
    def raising(self) -> Iterator[None]:
        try:
            self._raises = True
            self._raise_if_came()
            yield
        except Exception as error:
            if self.came:  # C code, such as that which makes a client, raises one of its own instead of ours
                raise Interrupted from error
            raise
        finally:
            self._raises = False

    @contextmanager
    def held(self) -> Iterator[None]:
        """Inside `raising()`: a signal that comes here is raised at the end."""
        self._raises = False
        try:
            yield
        finally:
            self._raises = True
        self._raise_if_came()

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self.came = True
        self._raise_if_came()

    def _raise_if_came(self) -> None:
        if self.came and self._raises:
            self._raises = False
            raise Interrupted
