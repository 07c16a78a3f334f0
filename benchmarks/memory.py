"""What a router holds in memory while it routes many records, at full speed and behind.

python benchmarks/memory.py --help; `make bench-router-more` writes its table into benchmarks/README.md.
"""

import click
import page
from load import beside, fill
from measuring import resident_bytes
from workbench import Workbench, lanes_of, router_command, workbench

MIB = 2**20


def run(bench: Workbench, records: int) -> list[tuple[int, int]]:
    """Records routed, and bytes resident at that time."""
    with (
        bench.route() as route,
        bench.running(router_command(route)) as processes,
        beside(fill, bench.brokers, route.topic("requests"), records),
    ):
        return [
            (sample.records, resident_bytes(processes[0].pid))
            for sample in bench.samples(processes, lanes_of(route), records)
        ]


def rows(samples: list[tuple[int, int]], records: int) -> list[list[str]]:
    """The most that was resident in each tenth of the records."""
    tenths: dict[int, int] = {}
    for seen, resident in samples:
        tenth = min(9, 10 * seen // records)
        tenths[tenth] = max(tenths.get(tenth, 0), resident)
    return [[f"{(tenth + 1) * records // 10:,}", f"{most / MIB:.0f}"] for tenth, most in sorted(tenths.items())]


@click.command(epilog="Example: python benchmarks/memory.py --records 1000000")
@click.option("--records", default=10_000_000, show_default=True, help="Of 200 bytes.")
@click.option("--write", is_flag=True, help="Write the table into benchmarks/README.md.")
def main(records: int, *, write: bool) -> None:
    """One router on a local stack, records written beside it; prints its resident memory."""
    with workbench() as bench:
        lines = page.table(["up to record", "most resident, MiB"], rows(run(bench, records), records))
    click.echo(lines)
    if write:
        page.write("bench-memory", lines)


if __name__ == "__main__":
    main()
