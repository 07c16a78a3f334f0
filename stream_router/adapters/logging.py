"""structlog: one event a line on stderr, as text or JSON, without secrets."""

import logging
import sys
from collections.abc import MutableMapping
from typing import Any, Literal

import structlog

from stream_router.settings import is_secret, masked_url

_NOT_SECRET = {"key", "keys"}
"""Fields of records and Redis, in logs no credentials."""


def configure_logging(form: Literal["text", "json"] = "text", level: str = "info") -> None:
    """Set up structlog for this process; libraries that use `logging` are heard from warnings on."""
    renderer = (
        structlog.processors.JSONRenderer()
        if form == "json"
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    threshold = logging.getLevelNamesMapping()[level.upper()]
    logging.basicConfig(
        level=max(threshold, logging.WARNING), stream=sys.stderr, format="%(levelname)s %(name)s %(message)s"
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.StackInfoRenderer(),
            hide_secrets,
            *([structlog.processors.format_exc_info] if form == "json" else []),
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )


def hide_secrets(logger: Any, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Mask values of fields named like a secret, in mappings as well; of URLs only user and password."""
    del logger, method
    return {name: _shown(name, value) for name, value in event.items()}


def _shown(name: str, value: Any) -> Any:
    if isinstance(value, dict):
        return {inner: _shown(str(inner), content) for inner, content in value.items()}
    if isinstance(value, str) and "://" in value:
        return masked_url(value)
    if isinstance(value, str | bytes) and name not in _NOT_SECRET and is_secret(name):
        return "(hidden)"
    return value
