"""How many keys a second are assigned to lanes, a batch at a time.

python benchmarks/assignment.py --help; `make bench-router-more` writes its table into benchmarks/README.md.
"""

import statistics
import time

import click
import page
from goals import Goal, goals_table
from load import key_of

from stream_router.core.routing.partitioner import WeightedPartitioner
from stream_router.core.routing.split import Split

BATCH = 5_000
GOAL = Goal(f"keys/s, {BATCH:,} at once", least=3_000_000, form=",.0f")


def rates(batches: int) -> list[float]:
    """Keys a second, of each batch."""
    keys, split = [key_of(number) for number in range(BATCH)], Split(stable=0.9, canary=0.1)
    partitioner, found = WeightedPartitioner("bench", 3), []
    for _ in range(batches):
        began = time.perf_counter()
        partitioner.is_canary(keys, split)
        found.append(BATCH / (time.perf_counter() - began))
    return found


@click.command(epilog="Example: python benchmarks/assignment.py --batches 100")
@click.option("--batches", default=2_000, show_default=True, help="Of 5,000 keys.")
@click.option("--write", is_flag=True, help="Write the table into benchmarks/README.md.")
def main(batches: int, *, write: bool) -> None:
    """WeightedPartitioner.is_canary alone; prints the median."""
    rate = statistics.median(rates(batches))
    lines = goals_table([GOAL.judge(rate)])
    click.echo(lines)
    if write:
        page.write("bench-assignment", lines)


if __name__ == "__main__":
    main()
