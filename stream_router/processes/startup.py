"""What every command does before its work: the form of its log, a look at the client settings, its metrics."""

from stream_router.adapters.logging import configure_logging
from stream_router.settings import Settings


def start_up(settings: Settings, *, serves_metrics: bool) -> None:
    """Raises SettingError for a client setting that is none, and for a port of the metrics that is taken."""
    configure_logging(settings.log_format, settings.log_level)
    if settings.kafka:
        from stream_router.adapters.kafka.clients import admin  # noqa: PLC0415 - costs start-up time

        admin(settings)  # every kind of client refuses the same settings; here it is before any work
    if serves_metrics and settings.metrics_port is not None:
        from stream_router.adapters.metrics import serve_metrics  # noqa: PLC0415 - costs start-up time

        serve_metrics(settings.metrics_port)
