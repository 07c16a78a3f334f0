"""What a row of the join costs: objects in a dictionary, an embedded store, the join's own table; and the join on it.

python benchmarks/rows.py --help; `make bench-rows` writes its tables into benchmarks/README.md. CPU time is of all
threads, memory is what the process grew by, the most at any time. The embedded store is left out where it is not
installed: `pip install rocksdict`.
"""

import importlib.util
import multiprocessing
import resource
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import click
import numpy as np
import page

from stream_router.core.evidence import Positions
from stream_router.core.joining.columns import Labels, Origin, Predictions
from stream_router.core.joining.hashes import keys_of
from stream_router.core.joining.held_rows import _ROW
from stream_router.core.joining.join import Join
from stream_router.core.joining.split_history import SplitHistory
from stream_router.core.joining.table import Table
from stream_router.core.policy import Policy
from stream_router.core.routing.applied_split import AppliedSplit

CHUNK = 4_000
BEGIN = 1_700_000_000_000


class Rows(Protocol):
    """A chunk of request ids, the first of which has this number, is put in, or looked up."""

    def put(self, first: int, ids: Sequence[str]) -> None: ...

    def look_up(self, ids: Sequence[str]) -> None: ...


@dataclass(slots=True)
class Row:
    cell: object
    routed_at: int
    oldest_label: int
    entity: int
    value: bool
    new: bool
    label: bool | None = None


class Objects:
    """One object a row, and its id in a bucket of expiry."""

    def __init__(self) -> None:
        self._rows: dict[str, Row] = {}
        self._expiry: list[str] = []

    def put(self, first: int, ids: Sequence[str]) -> None:
        for number, request_id in enumerate(ids, first):
            self._rows[request_id] = Row(None, BEGIN + number, BEGIN - number, hash(request_id), number % 7 == 0, True)
            self._expiry.append(request_id)

    def look_up(self, ids: Sequence[str]) -> None:
        for request_id in ids:
            self._rows[request_id].label = True


class Store:
    """rocksdict: 16 bytes of key, 47 of columns; a chunk is one write."""

    def __init__(self) -> None:
        import rocksdict  # noqa: PLC0415 - only where it is installed

        self._batch = rocksdict.WriteBatch
        options = rocksdict.Options(raw_mode=True)
        self._directory = tempfile.TemporaryDirectory()
        self._store = rocksdict.Rdict(self._directory.name, options)

    def put(self, first: int, ids: Sequence[str]) -> None:
        batch = self._batch(raw_mode=True)
        for number, key in enumerate(_keys(ids), first):
            batch.put(key, number.to_bytes(47, "little"))
        self._store.write(batch)

    def look_up(self, ids: Sequence[str]) -> None:
        keys = _keys(ids)
        batch = self._batch(raw_mode=True)
        for key, row in zip(keys, self._store[keys], strict=True):
            batch.put(key, row)
        self._store.write(batch)


class Columns:
    """The join's table."""

    def __init__(self) -> None:
        self._table = Table(_ROW)

    def put(self, first: int, ids: Sequence[str]) -> None:
        whole = np.arange(first, first + len(ids))
        self._table.insert(keys_of(ids), dict.fromkeys(_ROW, whole % 128))

    def look_up(self, ids: Sequence[str]) -> None:
        self._table["label_kind"][self._table.find(keys_of(ids))] = 1


KINDS: dict[str, Callable[[], Rows]] = {
    "objects in a dictionary": Objects,
    "rocksdict, on disk": Store,
    "columns in numpy": Columns,
}


def measure_rows(kind: str, rows: int) -> tuple[float, float, float, float]:
    """CPU microseconds to put a row in and to look one up and change it, bytes a row, longest chunk in ms."""
    before, held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, KINDS[kind]()
    put = longest = 0.0
    for first in range(0, rows, CHUNK):
        ids = _ids(range(first, first + CHUNK))
        taken = _cpu(lambda first=first, ids=ids: held.put(first, ids))
        put, longest = put + taken, max(longest, taken)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    random, chunks, found = np.random.default_rng(1), 100, 0.0
    for _ in range(chunks):
        ids = _ids(random.integers(0, rows // CHUNK * CHUNK, CHUNK).tolist())
        found += _cpu(lambda ids=ids: held.look_up(ids))
    return put / rows * 1e6, found / chunks / CHUNK * 1e6, grown / rows, longest * 1e3


def measure_join(rows: int, windows: int) -> tuple[float, float, float]:
    """CPU microseconds a pair, bytes a row, longest chunk in ms, of a join that holds so many rows in so many windows.

    Each prediction has its label, half of the rows later; a watermark a chunk, a take in ten.
    """
    window = 7_200_000 // windows
    policy = Policy(window=window, label_horizon=7_200_000 - window, prediction_deadline=60_000)
    applied = AppliedSplit(canary=0.05, epoch=3, rollout=1)
    splits = SplitHistory()
    splits.add(applied)
    before, join = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, Join(policy, Positions(0, 0), splits)
    lag, first, taken, longest = rows // 2 // CHUNK, 0, 0.0, 0.0
    measured = range(int(1.3 * rows) // CHUNK, int(1.3 * rows) // CHUNK + 200)
    for number in range(measured.stop):
        predictions = _predictions(number, policy.kept_for / rows, applied)
        labels = _labels(number, lag, predictions.time)
        spent = _cpu(lambda p=predictions, k=labels, n=number: _step(join, p, k, n))
        if number in measured:
            taken, longest = taken + spent, max(longest, spent)
        first += CHUNK
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    return taken / len(measured) / CHUNK * 1e6, grown / join.rows, longest * 1e3


def _step(join: Join, predictions: Predictions, labels: Labels | None, number: int) -> None:
    join.on_predictions(predictions)
    if labels is not None:
        join.on_labels(labels)
    join.on_watermark(int(predictions.time[-1]))
    if number % 10 == 0:
        join.take()


def _predictions(number: int, every: float, applied: AppliedSplit) -> Predictions:
    offsets = np.arange(number * CHUNK, (number + 1) * CHUNK)
    routed_at = BEGIN + (offsets * every).astype(np.int64)
    lanes = [Origin(3, applied.digest, 1, lane, lane) for lane in ("canary", *["stable"] * 19)]
    return Predictions(
        offset=offsets,
        time=routed_at + 30,
        request_id=_ids(offsets.tolist()),
        entity=[b"entity-%d" % (offset % 100_000) for offset in offsets.tolist()],
        origin=[lanes[offset % 20] for offset in offsets.tolist()],
        routed_at=routed_at,
        requested_at=routed_at - 5,
        scored_at=routed_at + offsets % 60,
        batch_index=offsets % 16,
        batch_size=np.full(CHUNK, 16),
        model_seconds=np.full(CHUNK, 0.001),
        value=[offset % 7 > 0 for offset in offsets.tolist()],
        is_error=np.zeros(CHUNK, np.bool_),
    )


def _labels(number: int, lag: int, times: np.ndarray) -> Labels | None:
    """Labels come in another order than predictions: a chunk has some of each of many chunks of predictions."""
    many = max(1, lag // 2)
    if number < lag + many:
        return None
    place = np.arange(CHUNK)
    return Labels(
        offset=np.arange(number * CHUNK, (number + 1) * CHUNK),
        time=times,
        request_id=_ids(((number - lag - place % many) * CHUNK + place).tolist()),
        value=[True] * CHUNK,
    )


def _ids(numbers: Sequence[int]) -> list[str]:
    return [f"{number:032d}-abc" for number in numbers]


def _keys(ids: Sequence[str]) -> list[bytes]:
    hashed = keys_of(ids).tobytes()
    return [hashed[first : first + 16] for first in range(0, len(hashed), 16)]


def _cpu(work: Callable[[], None]) -> float:
    before = time.process_time()
    work()
    return time.process_time() - before


def alone(measure: Callable[..., tuple[float, ...]], *arguments: object) -> tuple[float, ...]:
    """In a process of its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(measure, arguments)


@click.command(epilog="Example: python benchmarks/rows.py --rows 1000000")
@click.option("--rows", default=10_000_000, show_default=True, help="Rows held, of 36-character ids.")
@click.option("--write", is_flag=True, help="Write the tables into benchmarks/README.md.")
def main(rows: int, *, write: bool) -> None:
    """CPU and memory a row, kind by kind; then of the join at a tenth and half of the rows."""
    lines = []
    for kind in KINDS:
        if kind.startswith("rocksdict") and importlib.util.find_spec("rocksdict") is None:
            click.echo("rocksdict is not installed: left out (pip install rocksdict)", err=True)
            continue
        put, found, size, longest = alone(measure_rows, kind, rows)
        lines.append([kind, f"{put:.2f}", f"{found:.2f}", f"{size:.0f}", f"{longest:.0f}"])
    header = [f"{rows:,} rows", "put, us CPU", "look up and change, us CPU", "bytes a row", "longest chunk, ms CPU"]
    kinds = page.table(header, lines)
    click.echo(kinds)
    lines = []
    for held, windows in ((rows // 10, 120), (rows // 10, 3_600), (rows // 2, 120)):
        pair, size, longest = alone(measure_join, held, windows)
        lines.append([f"{held:,}", f"{windows:,}", f"{pair:.2f}", f"{size:.0f}", f"{longest:.0f}"])
    header = ["rows held by the join", "windows", "pair, us CPU", "bytes a row", "longest chunk of 4,000, ms CPU"]
    joins = page.table(header, lines)
    click.echo(joins)
    if write:
        page.write("bench-rows", f"{kinds}\n\n{joins}")


if __name__ == "__main__":
    main()
