"""All settings: from flags, STREAM_ROUTER_* variables and one TOML file, in that order."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal
from urllib.parse import unquote, urlsplit

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from stream_router.core.policy import Policy
from stream_router.errors import SettingError
from stream_router.policies.reading import read_policy
from stream_router.policies.rules import Duration

PREFIX: Final = "STREAM_ROUTER_"
DEFAULT_FILE: Final = Path("stream-router.toml")
_URL: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://\S+")
_HIDDEN: Final = "(hidden)"
_SECRET: Final = ("password", "secret", "token", "key", "redis_url", "jaas")
_OF_A_KEY: Final = "[key]"
_OF_A_VALIDATOR: Final = "Value error, "
"""What pydantic puts behind the place of a name that is wrong, and before the words of a validator of ours."""

_FORMS: Final = {"model_type": "expected a table", "path_type": "expected the path of a file"}
"""What pydantic's words for these mistakes do not tell who writes TOML."""

_CALLABLE: Final = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*")


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


class RouteSettings(BaseModel):
    """What join and router run on. All processes of a route need the same, and other values a restart."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    window: Duration = Field(60, gt=0, description="Length of a window, in which requests are counted together.")
    label_horizon: Duration = Field(
        86_400, gt=0, description="How long the truth about a request may take, from its window's end."
    )
    prediction_deadline: Duration = Field(
        300, gt=0, description="Time for a prediction, from the routing of its request; rows are kept so much longer."
    )
    assign_by: Literal["key", "request"] = Field(
        "key", description="What a lane is drawn from: the request's key, so that lanes are sticky, or each request."
    )
    tolerance: float = Field(
        0.0, ge=0, description="By how much a predicted number may miss the truth and still be right."
    )
    relative_tolerance: float = Field(
        0.0, ge=0, description="The same as a ratio of the truth; whichever of the two allows more."
    )
    bad: str | None = Field(
        None,
        description="MODULE:CALLABLE of yours that is given prediction and truth, and says whether the answer is bad. "
        "Not set: it is unless the two agree.",
    )

    @field_validator("bad")
    @classmethod
    def _is_callable(cls, bad: str | None) -> str | None:
        if bad is not None and not _CALLABLE.fullmatch(bad):
            raise ValueError("expected MODULE:CALLABLE, such as my_company.judging:is_bad")
        return bad

    def to_policy(self) -> Policy:
        """The built-in policy with these settings."""
        times = {name: getattr(self, name) for name in ("window", "label_horizon", "prediction_deadline")}
        return Policy(
            **{name: max(1, round(seconds * 1000)) for name, seconds in times.items()},
            assign_by=self.assign_by,
            tolerance=self.tolerance,
            relative_tolerance=self.relative_tolerance,
            bad=self.bad,
        )


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
    route: RouteSettings = Field(
        default_factory=RouteSettings, description="How requests and their outcomes are counted, whatever the rollout."
    )
    policy: Path | None = Field(
        None,
        description="The policy file, YAML: what a rollout is judged by, and how it goes forward. Not set: the "
        "built-in policy.",
    )
    early_limit: int = Field(
        1_000_000,
        ge=1,
        description="Labels of a partition that may wait for their predictions in the monitor; more are left out.",
    )
    state_folder: Path | None = Field(
        None,
        description="Where the monitor keeps its rows, so that a restart need not read its inputs again as far back as "
        "route.label_horizon. The monitor stands still while it copies a partition's: 0.2 s for a million of them. "
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


_TABLES: Final[dict[str, type[BaseModel]]] = {
    "topics": TopicNames,
    "route": RouteSettings,
    "dead_letters": DeadLetterLimits,
}


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


def policy_of(settings: Settings) -> Policy:
    """The policy of a rollout that starts under these settings. Raises PolicyError."""
    return read_policy(settings.policy, settings.route.to_policy())


def _refuse_unknown_variables() -> None:
    for name in os.environ:
        if name.startswith(PREFIX) and name != PREFIX + "CONFIG":
            field, *inner = name.removeprefix(PREFIX).lower().split("__")
            if field not in Settings.model_fields:
                known = ", ".join(PREFIX + known.upper() for known in Settings.model_fields)
                raise SettingError(f"variable {name} is not a setting: the settings are {known}")
            if inner and field not in (*_TABLES, "kafka", "redis"):
                raise SettingError(
                    f"variable {name} is not a setting: {field} has no parts, it is {PREFIX}{field.upper()}"
                )


def _explain(detail: Any) -> str:
    place = tuple(part for part in detail["loc"] if part != _OF_A_KEY)
    name = ".".join(map(str, place))
    passed_through = place[0] in ("kafka", "redis")
    value = _HIDDEN if passed_through or is_secret(name) else without_secrets(repr(detail["input"]))
    if detail["type"] == "extra_forbidden":
        known = _TABLES.get(str(place[0]), Settings).model_fields
        return f"setting {name} is {value}, but there is none of that name: the names here are {', '.join(known)}"
    if detail["type"] == "missing":
        return f"setting {name} is missing in {value}"
    return f"setting {name} is {value}: {_FORMS.get(detail['type'], detail['msg'].removeprefix(_OF_A_VALIDATOR))}"


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
