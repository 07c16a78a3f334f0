"""What hashes of values stand for, where the user's function asks for the values themselves."""

import json
from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from stream_router.core.joining.values import Values, are_hashes, in_python
from stream_router.core.scoring.prediction import Value

_FEW: Final = 1024


class Vocabulary:
    """What the hashes of rows and of labels that wait stand for."""

    def __init__(self) -> None:
        self._hashed: dict[int, Value] = {}
        self._most = _FEW

    def __len__(self) -> int:
        return len(self._hashed)

    def learn(self, coded: Values, values: Sequence[Value | None]) -> None:
        """Values that come to be held, as coded and as they are: shape (n,) and n."""
        places = np.flatnonzero(are_hashes(coded))
        for place, bits in zip(places.tolist(), coded.bits[places].tolist(), strict=True):
            value = values[place]
            if value is not None:
                self._hashed.setdefault(bits, value)

    def told(self, values: Values) -> list[Value]:
        """What was learned, of the same types. Raises KeyError for what was not, and for None."""
        return in_python(values, self._hashed)

    @property
    def is_due(self) -> bool:
        """Whether it has grown so much that it is time to `keep` what is still held."""
        return len(self._hashed) > self._most

    def keep(self, *held: Values) -> None:
        """Forget all that is not among them."""
        bits = np.concatenate([values.bits[are_hashes(values)] for values in held])
        self._hashed = {key: self._hashed[key] for key in np.unique(bits).tolist()}
        self._most = max(_FEW, 2 * len(self._hashed))

    def state(self) -> npt.NDArray[np.uint8]:
        """For `restore`."""
        return np.frombuffer(json.dumps(list(self._hashed.items())).encode(), np.uint8)

    def restore(self, state: npt.NDArray[np.uint8]) -> None:
        """What `state` gave, into an empty one."""
        self._hashed = dict(json.loads(state.tobytes()))
        self._most = max(_FEW, 2 * len(self._hashed))
