"""Plain data and NumPy arrays as bytes: an npz archive, of which one member is JSON. Nothing of it is ever executed."""

import io
import json
from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from stream_router.errors import DecodeError

_PLAIN: Final = "plain"
_ARRAY: Final = "$array"


def pack(state: Mapping[str, Any]) -> bytes:
    """`state`: numbers, strings, None, lists, mappings with strings as keys, and arrays of numbers anywhere in them.

    Floats come back bit for bit.
    """
    arrays: dict[str, Any] = {}

    def apart(value: Any) -> dict[str, str]:
        if not isinstance(value, np.ndarray):
            raise TypeError(f"{value!r} is neither plain data nor an array")
        name = f"a{len(arrays)}"
        arrays[name] = value
        return {_ARRAY: name}

    plain = json.dumps(state, default=apart, separators=(",", ":"))
    arrays[_PLAIN] = np.frombuffer(plain.encode(), np.uint8)
    body = io.BytesIO()
    np.savez(body, **arrays)
    return body.getvalue()


def unpack(body: bytes) -> Any:
    """What was packed. Raises DecodeError where it was not, or is damaged."""
    try:
        with np.load(io.BytesIO(body), allow_pickle=False) as arrays:

            def together(value: dict[str, Any]) -> Any:
                return arrays[value[_ARRAY]] if value.keys() == {_ARRAY} else value

            return json.loads(arrays[_PLAIN].tobytes(), object_hook=together)
    except Exception as error:  # zipfile and its decompressors have many for damaged bytes, or one flag of a member
        raise DecodeError(f"not readable as an archive of arrays: {type(error).__name__}: {error}") from error
