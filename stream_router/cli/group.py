"""The top command: imports a sub-command when it is called, and turns errors into one line and an exit code."""

import sys
from collections.abc import Mapping
from importlib import import_module
from typing import Any, Final

import click

from stream_router.errors import StreamRouterError

INTERRUPTED: Final = 130


class LazyGroup(click.Group):
    """`commands` maps the name of a sub-command to its one line of help.

    The sub-command itself is the attribute `command` of the module of that name in `package`. What a command
    returns is the exit code; None means 0.
    """

    def __init__(self, *, name: str, commands: Mapping[str, str], package: str, **settings: Any) -> None:
        super().__init__(
            name=name,
            context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
            **settings,
        )
        self._summaries = commands
        self._package = package
        self.params.append(
            click.version_option(package_name="stream-router", message="%(version)s")(_no_command).params[-1]
        )

    def list_commands(self, ctx: click.Context) -> list[str]:
        del ctx
        return list(self._summaries)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        del ctx
        if cmd_name not in self._summaries:
            return None
        command = import_module(f"{self._package}.{cmd_name}").command
        if not isinstance(command, click.Command):
            raise TypeError(f"{self._package}.{cmd_name}.command is not a command")
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the sub-commands without importing them."""
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl(list(self._summaries.items()))

    def main(self, *args: Any, **extra: Any) -> Any:
        """Run and exit: an error of ours is one line on stderr, and one more where a restart mends it.

        Where logs are JSON it is a log line.
        """
        extra["standalone_mode"] = False
        try:
            result = super().main(*args, **extra)
        except StreamRouterError as error:
            _say(error)
            sys.exit(error.exit_code)
        except click.ClickException as error:
            error.show()
            sys.exit(error.exit_code)
        except (click.Abort, KeyboardInterrupt):
            sys.exit(INTERRUPTED)
        sys.exit(result if isinstance(result, int) else 0)


def _say(error: StreamRouterError) -> None:
    import structlog  # noqa: PLC0415 - costs start-up time

    from stream_router.adapters.logging import logs_json  # noqa: PLC0415 - likewise

    if logs_json():
        structlog.get_logger().error(
            "ended by an error",
            error=str(error),
            kind=type(error).__name__,
            exit_code=error.exit_code,
            restart_mends=error.restart_mends,
        )
        return
    click.echo(f"stream-router: {error}", err=True)
    if error.restart_mends:
        click.echo("stream-router: once that is over, the same command goes on where this one ended", err=True)


@click.command
def _no_command() -> None:
    pass
