"""structlog and the standard library's logging: one event a line on stderr, all in one form, without secrets."""

import logging
import sys
from collections.abc import MutableMapping
from typing import Any, Final, Literal

import structlog
from structlog.types import Processor

from stream_router.settings import is_secret, masked_url, without_secrets

_NOT_SECRET = {"key", "keys"}
"""Fields of records and Redis, in logs no credentials."""

_HANDLER: Final = "stream-router "


def configure_logging(form: Literal["text", "json"] = "text", level: str = "info") -> None:
    """Set up logging for this process; libraries, and Python, are heard from warnings on, in the same form."""
    threshold = logging.getLevelNamesMapping()[level.upper()]
    common: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
        hide_secrets,
    ]
    handler = logging.StreamHandler(sys.stderr)
    handler.set_name(_HANDLER + form)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*common, structlog.stdlib.add_logger_name],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *_renderers(form)],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler, *(other for other in root.handlers if not str(other.get_name()).startswith(_HANDLER))]
    root.setLevel(max(threshold, logging.WARNING))
    logging.captureWarnings(True)
    ours = logging.getLogger("stream_router")
    ours.setLevel(threshold)
    structlog.configure(
        processors=[*common, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=lambda *_: ours,
        cache_logger_on_first_use=False,
    )


def logs_json() -> bool:
    """Whether this process was told to log JSON."""
    return any(handler.get_name() == f"{_HANDLER}json" for handler in logging.getLogger().handlers)


def _renderers(form: Literal["text", "json"]) -> list[Processor]:
    if form == "json":
        return [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    return [structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())]


def hide_secrets(logger: Any, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Mask values of fields named like a secret, in mappings as well; of URLs, in sentences too, only their secrets."""
    del logger, method
    return {name: _shown(name, value) for name, value in event.items()}


def _shown(name: str, value: Any) -> Any:
    if isinstance(value, dict):
        return {inner: _shown(str(inner), content) for inner, content in value.items()}
    if isinstance(value, str) and "://" in value:
        return masked_url(value) if name.endswith("url") else without_secrets(value)
    if isinstance(value, str | bytes) and name not in _NOT_SECRET and is_secret(name):
        return "(hidden)"
    return value
