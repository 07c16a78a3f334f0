"""What the monitor needs its topics to keep, held against what they keep, before it begins."""

import structlog

from stream_router.adapters.kafka.clients import forbids, retention
from stream_router.core.policy import Policy
from stream_router.core.route import Route
from stream_router.errors import SettingError, StreamRouterError
from stream_router.settings import Settings

_log = structlog.get_logger()


def check_retention(settings: Settings, route: Route, policy: Policy) -> None:
    """Raises SettingError where a topic may delete what still counts, TopicError, UnreachableError.

    The inputs are read again as far back as `policy.reach` to rebuild rows, and R.evidence for as long to fold the
    windows that can still change. For how long a limit of bytes keeps them nobody knows: there it is said, not refused.
    """
    for topic in (route.topic("predictions"), route.topic("ground-truth"), route.topic("evidence")):
        try:
            kept = retention(settings, topic)
        except StreamRouterError as error:
            if not forbids(error):
                raise
            _log.warning("whether the topic keeps records for long enough is not known", topic=topic, error=str(error))
            continue
        if kept.size is not None:
            _log.warning(
                "the topic deletes records by its size: whether it keeps them for long enough depends on its traffic",
                topic=topic,
                retention_bytes=kept.size,
                seconds_needed=policy.reach / 1000,
            )
        if kept.age is not None and kept.age < policy.reach:
            raise SettingError(
                f"setting route.label_horizon is {policy.label_horizon / 1000:g} s, with route.window and "
                f"route.prediction_deadline {policy.reach / 1000:g} s in all, but topic {topic} deletes records after "
                f"{kept.age / 1000:g} s (retention.ms={kept.age}): set its retention.ms to at least {policy.reach}, or "
                "lower route.label_horizon"
            )
