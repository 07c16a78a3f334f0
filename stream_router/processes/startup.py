"""What every command does before its work: the form of its log, and a look at the client settings."""

from stream_router.adapters.logging import configure_logging
from stream_router.adapters.native_lines import log_native_lines
from stream_router.settings import Settings


def start_up(settings: Settings) -> None:
    """Raises SettingError for a client setting that is none."""
    if settings.log_format == "json":
        log_native_lines()
    configure_logging(settings.log_format, settings.log_level)
    if settings.kafka:
        from stream_router.adapters.kafka.clients import admin  # noqa: PLC0415 - costs start-up time

        admin(settings)  # most refusals are those of every kind of client; here they are before any work
