"""All settings: from flags, STREAM_ROUTER_* variables and one TOML file, in that order."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal
from urllib.parse import unquote, urlsplit

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, ValidationError
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from stream_router.core.policy import Policy
from stream_router.errors import SettingError

PREFIX: Final = "STREAM_ROUTER_"
DEFAULT_FILE: Final = Path("stream-router.toml")
_URL: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://\S+")
_HIDDEN: Final = "(hidden)"
_SECRET: Final = ("password", "secret", "token", "key", "redis_url", "jaas")


class PolicySettings(BaseModel):
    """How a rollout is counted and judged."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    window: float = Field(60, gt=0, description="Length of a window, in which requests are counted together; seconds.")
    label_horizon: float = Field(
        86_400, gt=0, description="How long the truth about a request may take, from its window's end; seconds."
    )
    prediction_deadline: float = Field(
        300,
        gt=0,
        description="Time for a prediction, from the routing of its request; rows are kept so much longer. Seconds.",
    )
    block_time: float | None = Field(
        None, gt=0, description="How long evidence may gather before it is bet on; seconds. Not set: label_horizon."
    )
    alpha: float = Field(
        0.05, gt=0, lt=1, description="At most this is the probability of ever rolling back a healthy canary."
    )
    entity_period: float | None = Field(
        None,
        gt=0,
        description="An entity (a key) gives one outcome in this time; seconds. Not set: one in the whole rollout.",
    )
    max_labels: int = Field(
        20_000, gt=0, description="Canary labels over which the test spreads its bets; past them the verdict says so."
    )
    tolerated_odds_ratio: float = Field(
        1.0, ge=1, description="Canary's error odds, as a multiple of stable's, that are still healthy."
    )
    assign_by: Literal["key", "request"] = Field(
        "key", description="What a lane is drawn from: the request's key, so that lanes are sticky, or each request."
    )

    def to_policy(self) -> Policy:
        def milliseconds(seconds: float) -> int:
            return max(1, round(seconds * 1000))

        return Policy(
            window=milliseconds(self.window),
            label_horizon=milliseconds(self.label_horizon),
            prediction_deadline=milliseconds(self.prediction_deadline),
            block_time=None if self.block_time is None else milliseconds(self.block_time),
            alpha=self.alpha,
            entity_period=None if self.entity_period is None else milliseconds(self.entity_period),
            max_labels=self.max_labels,
            tolerated_odds_ratio=self.tolerated_odds_ratio,
            assign_by=self.assign_by,
        )


class TopicNames(BaseModel):
    """Existing topics of the user's in place of ours."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    requests: str | None = Field(None, description="The topic of requests. Not set: ROUTE.requests.")
    ground_truth: str | None = Field(None, description="The topic of labels. Not set: ROUTE.ground-truth.")
    predictions: str | None = Field(None, description="The topic of predictions. Not set: ROUTE.predictions.")


class DeadLetterLimits(BaseModel):
    """Past either limit the process stops instead of diverting everything."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    ratio: float = Field(0.1, ge=0, le=1, description="Dead letters over all records, looked at once 1,000 were seen.")
    consecutive: int = Field(1000, ge=1, description="Dead letters in a row.")


def _dotted(value: Any) -> Any:
    """In TOML `linger.ms = 5` is a table in a table; librdkafka has dotted names and texts."""
    if not isinstance(value, dict):
        return value
    flat: dict[str, Any] = {}
    for name, content in value.items():
        if isinstance(content, dict):
            flat |= {f"{name}.{inner}": text for inner, text in _dotted(content).items()}
        else:
            flat[name] = str(content).lower() if isinstance(content, bool) else str(content)
    return flat


class Settings(BaseSettings):
    """`kafka` and `redis` pass any client setting through, under the client's own names."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_nested_delimiter="__",
        extra="forbid",
        frozen=True,
    )

    bootstrap_servers: str = Field("127.0.0.1:9092", min_length=1, description="Kafka: HOST:PORT, several with commas.")
    redis_url: SecretStr = Field(
        SecretStr("redis://127.0.0.1:6379/0"), description="Redis or Valkey: redis:// or rediss://."
    )
    kafka: Annotated[dict[str, str], BeforeValidator(_dotted)] = Field(
        default_factory=dict,
        repr=False,
        description="Anything that librdkafka knows, under its own names; not what a guarantee rests on.",
    )
    redis: dict[str, Any] = Field(
        default_factory=dict, repr=False, description="Anything that redis-py's client knows, under its own names."
    )
    topics: TopicNames = Field(default_factory=TopicNames, description="Existing topics of yours in place of ours.")
    policy: PolicySettings = Field(default_factory=PolicySettings, description="How a rollout is counted and judged.")
    early_limit: int = Field(
        1_000_000,
        ge=1,
        description="Labels of a partition that may wait for their predictions in the monitor; more are left out.",
    )
    state_folder: Path | None = Field(
        None,
        description="Where the monitor keeps its rows, so that a restart need not read its inputs again as far back as "
        "policy.label_horizon. The monitor stands still while it copies a partition's: 0.2 s for a million of them. "
        "Not set: nowhere.",
    )
    dead_letters: DeadLetterLimits = Field(
        default_factory=DeadLetterLimits,
        description="Past either limit a process stops instead of diverting everything.",
    )
    log_format: Literal["text", "json"] = Field("text", description="Form of the log lines on stderr.")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="The least that is logged.")
    metrics_port: int | None = Field(
        None,
        ge=0,
        le=65535,
        description="Port of /metrics, /livez and /readyz, 0 for any free one. Not set: none are served.",
    )
    metrics_host: str = Field(
        "127.0.0.1", min_length=1, description="Address that they are served on; 0.0.0.0 for all of the machine's."
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        del dotenv_settings, file_secret_settings
        file = settings_cls.model_config.get("toml_file")
        return (init_settings, env_settings, *([TomlConfigSettingsSource(settings_cls)] if file else []))


def load_settings(file: Path | None = None, flags: Mapping[str, Any] | None = None) -> Settings:
    """Read the settings.

    `file` defaults to STREAM_ROUTER_CONFIG, then to stream-router.toml if it is there. Flags that are None or
    empty were not given. Raises SettingError that names the setting, its value and the right form.
    """
    named = file or (Path(os.environ[PREFIX + "CONFIG"]) if os.environ.get(PREFIX + "CONFIG") else None)
    if named is not None and not named.is_file():
        raise SettingError(f"config file {str(named)!r} does not exist: name an existing TOML file")
    found = named or (DEFAULT_FILE if DEFAULT_FILE.is_file() else None)

    class FromFile(Settings):
        model_config = SettingsConfigDict(toml_file=found)

    _refuse_unknown_variables()
    given = {name: value for name, value in (flags or {}).items() if value is not None and value != {}}
    try:
        return FromFile(**given)
    except ValidationError as error:
        raise SettingError("; ".join(_explain(detail) for detail in error.errors())) from None
    except ValueError as error:  # a TOML file or a JSON variable that cannot be parsed
        raise SettingError(f"the settings cannot be read: {error}") from None


def _refuse_unknown_variables() -> None:
    for name in os.environ:
        if name.startswith(PREFIX) and name != PREFIX + "CONFIG":
            field = name.removeprefix(PREFIX).split("__")[0].lower()
            if field not in Settings.model_fields:
                known = ", ".join(PREFIX + known.upper() for known in Settings.model_fields)
                raise SettingError(f"variable {name} is not a setting: the settings are {known}")


def _explain(detail: Any) -> str:
    name = ".".join(str(part) for part in detail["loc"])
    passed_through = detail["loc"][0] in ("kafka", "redis")
    value = _HIDDEN if passed_through or is_secret(name) else without_secrets(repr(detail["input"]))
    if detail["type"] == "extra_forbidden":
        models: dict[str, type[BaseModel]] = {
            "policy": PolicySettings,
            "topics": TopicNames,
            "dead_letters": DeadLetterLimits,
        }
        known = models.get(str(detail["loc"][0]), Settings).model_fields
        return f"setting {name} is {value}, but there is none of that name: the names here are {', '.join(known)}"
    return f"setting {name} is {value}: {detail['msg']}"


def is_secret(name: str) -> bool:
    """Whether a setting of this name must never be printed."""
    return any(word in name.lower() for word in _SECRET)


def without_secrets(text: str) -> str:
    """The text with each URL in it masked."""
    return _URL.sub(lambda found: masked_url(found[0]), text)


def masked_url(url: str) -> str:
    """The URL without user, password and a query with secrets, for messages.

    Of a URL that cannot be taken apart for sure, such as one with a / in its password, only the scheme is left.
    """
    scheme, separator, _ = url.partition("://")
    if not separator:
        return _HIDDEN
    try:
        parts = urlsplit(url)
        is_whole = parts.port is None or parts.port > 0
    except ValueError:
        is_whole = False
    if not is_whole or "@" in parts.path + parts.query + parts.fragment:
        return f"{scheme}://{_HIDDEN}"
    query = _HIDDEN if is_secret(unquote(parts.query)) else parts.query
    return f"{scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}{'?' if query else ''}{query}"
