"""What a caller proposes to the script: the document it read in `:split`, or a step of a rollout."""

import json
from dataclasses import dataclass

from stream_router.core.routing.split import ALL_STABLE_RAW, FORM, MIN_SHARE, digest_of, is_share, parse_split
from stream_router.errors import SplitError


@dataclass(frozen=True)
class Proposal:
    """`:split` as it was read, and the outcome of its validation.

    `type` is Redis's word for the key's type: `string` for a document, `none` for a missing key. `raw` is the
    document byte for byte, empty for other types. Either `canary`, canary's weight, or `refusal` is given.
    """

    type: str
    raw: bytes
    canary: float | None = None
    refusal: str | None = None

    @classmethod
    def of(cls, type_: str, raw: bytes = b"") -> "Proposal":
        """Validate what was read. Never raises: what is wrong with it becomes `refusal`."""
        if type_ == "none":
            return cls(type_, b"", refusal=f"the split is missing: the one in force stays; set one as {FORM}")
        if type_ != "string":
            return cls(
                type_,
                b"",
                refusal=f"the key of the split is a {type_}, not a string: DEL it, then SET a split as {FORM}",
            )
        try:
            return cls(type_, raw, canary=parse_split(raw).canary)
        except SplitError as error:
            return cls(type_, raw, refusal=str(error))

    @property
    def digest(self) -> str:
        """Digest of the document; empty where there is none."""
        return digest_of(self.raw) if self.type == "string" else ""


@dataclass(frozen=True)
class Step:
    """A step of a rollout: compare-and-set on the epoch `on`, at which it was decided.

    `canary` is canary's next weight; refused unless the split is then one of `rollout`, where that is given. With
    `promote`, canary's model version becomes stable's and the split stays as it is. With `start`, a model version,
    canary gets it and `rollout`, a number that nobody has used, begins with canary at 0, under whatever latch.
    """

    on: int
    canary: float = 0.0
    promote: bool = False
    rollout: int | None = None
    start: str | None = None

    def __post_init__(self) -> None:
        stays = self.promote or self.start is not None
        if not (is_share(self.canary) and is_share(self._stable)) or (stays and self.canary):
            raise ValueError(
                f"canary's weight is {self.canary}: expected 0, 1, or what leaves each lane {MIN_SHARE:g} or more, "
                "and 0 for a promotion or a start"
            )
        if self.start is not None and (self.promote or not self.start or not self.rollout):
            raise ValueError(
                f"a start of version {self.start!r} as rollout {self.rollout}: expected a version, the number of the "
                "rollout that begins, and no promotion"
            )

    @property
    def _stable(self) -> float:
        return round(1.0 - self.canary, 12)

    @property
    def raw(self) -> bytes:
        """The document that the step writes."""
        if self.canary == 0:
            return ALL_STABLE_RAW
        weights = {"stable": self._stable, "canary": float(self.canary)}
        return json.dumps(weights, separators=(",", ":")).encode()

    @property
    def digest(self) -> str:
        return digest_of(self.raw)
