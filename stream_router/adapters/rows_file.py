"""The rows of an input partition on disk: one file of numpy arrays, whole or not there."""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import structlog

from stream_router.core.evidence import Positions

Arrays = Mapping[str, npt.NDArray[Any]]

_ABOUT: Final = "about"
_FORMAT: Final = 1

_log = structlog.get_logger()


@dataclass(frozen=True, kw_only=True)
class About:
    """What the arrays stand for: all that the partition's inputs held before `positions`.

    `topics` has the id that the brokers gave each input, which another topic of the same name does not have.
    """

    route: str
    partition: int
    positions: Positions
    topics: Mapping[str, str]
    format: int = _FORMAT


@dataclass(frozen=True)
class Rows:
    """A file's content."""

    about: About
    arrays: Arrays


class RowsFile:
    """Of one partition. Its methods block."""

    def __init__(self, folder: Path, route: str, partition: int) -> None:
        self._file = folder / route / f"rows-{partition}.npz"

    def write(self, rows: Rows) -> None:
        """Put the rows in place of those before. Raises OSError."""
        self._file.parent.mkdir(parents=True, exist_ok=True)
        half = self._file.with_suffix(f".{os.getpid()}.half")
        for left in self._file.parent.glob(f"{self._file.stem}.*.half"):  # by one that was killed
            left.unlink(missing_ok=True)
        content = {"about": asdict(rows.about), "arrays": sorted(rows.arrays)}
        about = np.frombuffer(json.dumps(content).encode(), np.uint8)
        try:
            with half.open("wb") as file:
                np.savez(file, **{_ABOUT: about}, **rows.arrays)  # type: ignore[arg-type]  # its stubs take names for flags
                file.flush()
                os.fsync(file.fileno())
            half.replace(self._file)
        finally:
            half.unlink(missing_ok=True)
        folder = os.open(self._file.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def read(self) -> Rows | None:
        """What was written last; None where there is nothing, or nothing that can be read, which is then said."""
        try:
            return self._read()
        except FileNotFoundError:
            return None
        except Exception as error:  # noqa: BLE001 - whatever damaged bytes provoke, the inputs hold the same
            _log.warning(
                "rows on disk cannot be read, the inputs are read instead", file=str(self._file), error=repr(error)
            )
            return None

    def _read(self) -> Rows:
        with self._file.open("rb") as file, np.load(file, allow_pickle=False) as loaded:
            arrays = dict(loaded)  # whose checksums are looked at, but for the names
        content = json.loads(arrays.pop(_ABOUT).tobytes())
        about = content["about"]
        if sorted(arrays) != content["arrays"]:
            raise ValueError(f"it holds {sorted(arrays)} in place of {content['arrays']}")
        return Rows(About(**about | {"positions": Positions(*about["positions"])}), arrays)
