"""What pytest does around a run, in the process that the user started: workers of xdist have none of it."""

import ctypes
import os
import signal
import sys
import time
from collections.abc import Generator
from typing import Final

import pytest
from support.beside import Beside
from support.run import Run

_PR_SET_PDEATHSIG: Final = 1
_MOMENT: Final = 0.5
_LEFTOVERS_END_SECONDS: Final = 5


class Supervision:
    """Begins and ends a Run. A command beside the tests that fails, or a process that they leave, fails the run."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.run = Run()
        self.beside: Beside | None = None
        self.passed = False
        _end_with_make()

    def pytest_sessionstart(self) -> None:
        if command := self.config.getoption("beside"):
            self.beside = Beside(command, self.run.folder)

    @pytest.hookimpl(wrapper=True, trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> Generator[None]:
        yield
        if exitstatus == pytest.ExitCode.INTERRUPTED and sys.platform == "linux":
            return  # what still runs was not forgotten, and the guard ends it
        self._stop_stack()
        if self.beside:
            self.passed = self.beside.succeeded()
            if not self.passed:
                self._fail(session, self.beside.command, self.beside.output())
        if left := self._left():
            self._fail(session, "processes left behind", "\n".join(left))

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if self.beside and self.passed:
            terminalreporter.write_line(f"{self.beside.command}: passed")

    def pytest_unconfigure(self) -> None:
        self.run.end()

    def _stop_stack(self) -> None:
        if self.run.stack.exists():
            from stream_router.local.stack import stop  # noqa: PLC0415 - unit tests run without the extra

            stop(self.run.stack)

    def _left(self) -> list[str]:
        """What still runs after some time, in which what was told to end may do so."""
        time.sleep(_MOMENT)  # a process that was just started shows no mark yet
        deadline = time.monotonic() + _LEFTOVERS_END_SECONDS
        while (left := self.run.processes()) and time.monotonic() < deadline:
            time.sleep(0.05)
        return left

    def _fail(self, session: pytest.Session, name: str, text: str) -> None:
        """Count it as a failed test of this name."""
        report = pytest.TestReport(name, (name, None, name), {}, "failed", text, "call")
        reporter = self.config.pluginmanager.get_plugin("terminalreporter")
        if reporter is not None:
            reporter.stats.setdefault("failed", []).append(report)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def _end_with_make() -> None:
    """Make that is killed cannot end what it has started: the kernel does (Linux only)."""
    if "MAKELEVEL" in os.environ and sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
