"""What a router holds in memory while it routes many records, at full speed and behind.

python benchmarks/memory.py --help; `make bench-router-more` writes its table into benchmarks/README.md.
"""

import click
import page
from goals import Goal, Row, judged
from load import beside, fill
from measuring import resident_bytes
from workbench import Workbench, lanes_of, router_command, workbench

MIB = 2**20
MOST = Goal("most resident, MiB", most=250, form=".0f")
FLAT = Goal("most of the second half against the first", most=1.1)

Samples = list[tuple[int, int]]
"""Records routed, and bytes resident at that time."""


def run(bench: Workbench, records: int) -> Samples:
    with (
        bench.route() as route,
        bench.running(router_command(route)) as processes,
        beside(fill, bench.brokers, route.topic("requests"), records),
    ):
        return [
            (sample.records, resident_bytes(processes[0].pid))
            for sample in bench.samples(processes, lanes_of(route), records)
        ]


def rows(samples: Samples, records: int) -> list[list[str]]:
    """The most that was resident in each tenth of the records."""
    tenths: dict[int, int] = {}
    for seen, resident in samples:
        tenth = min(9, 10 * seen // records)
        tenths[tenth] = max(tenths.get(tenth, 0), resident)
    return [[f"{(tenth + 1) * records // 10:,}", f"{most / MIB:.0f}"] for tenth, most in sorted(tenths.items())]


def goals(samples: Samples, records: int) -> list[Row]:
    first, second = (
        max(resident for seen, resident in samples if (2 * seen >= records) is later) for later in (False, True)
    )
    return [MOST.judge(max(first, second) / MIB), FLAT.judge(second / first)]


@click.command(epilog="Example: python benchmarks/memory.py --records 1000000")
@click.option("--records", default=10_000_000, show_default=True, help="Of 200 bytes.")
@click.option("--write", is_flag=True, help="Write the table into benchmarks/README.md.")
def main(records: int, *, write: bool) -> None:
    """One router on a local stack, records written beside it; prints its resident memory."""
    with workbench() as bench:
        samples = run(bench, records)
    figures = page.table(["up to record", "most resident, MiB"], rows(samples, records))
    lines = judged(figures, goals(samples, records))
    click.echo(lines)
    if write:
        page.write("bench-memory", lines)


if __name__ == "__main__":
    main()
