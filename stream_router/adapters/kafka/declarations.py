"""The topics of a route as topics/*.yaml declare them."""

from functools import cache
from pathlib import Path
from typing import cast, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from stream_router.adapters.avro.codec import Subject
from stream_router.adapters.resources import resource_folder
from stream_router.core.route import Topic
from stream_router.errors import TopicError


class Declaration(BaseModel):
    """One file. `replicas` of -1 is the broker's default; a `value_schema` of None is any payload."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=r"^\{route\}\.")
    description: str = Field(min_length=1)
    owner: str = Field(min_length=1)
    partitions: int = Field(ge=1)
    replicas: int = Field(ge=-1)
    key: str = Field(min_length=1)
    value_schema: Subject | None
    producers: list[str] = Field(min_length=1)
    consumers: list[str] = Field(min_length=1)
    config: dict[str, str]

    @property
    def topic(self) -> Topic:
        return cast("Topic", self.name.removeprefix("{route}."))

    def partitions_or(self, override: int | None) -> int:
        """The declared count; the override instead, unless one partition is the topic's contract."""
        return override if override is not None and self.partitions > 1 else self.partitions


@cache
def declarations() -> tuple[Declaration, ...]:
    """All topics of a route, in the order of its data flow. Raises TopicError for a file that is not a declaration."""
    order = get_args(Topic)
    found = [read_declaration(file) for file in resource_folder("topics").glob("*.yaml")]
    return tuple(sorted(found, key=lambda declaration: order.index(declaration.topic)))


def read_declaration(file: Path) -> Declaration:
    """Raises TopicError."""
    try:
        declaration = Declaration.model_validate(yaml.safe_load(file.read_text()))
    except (ValidationError, yaml.YAMLError) as error:
        raise TopicError(f"{file} does not declare a topic: {error}") from None
    if declaration.topic not in get_args(Topic) or declaration.topic != file.stem:
        raise TopicError(f"{file} declares {declaration.name!r}: expected the name {{route}}.{file.stem}")
    return declaration
