"""The audit of a router: source and lanes walked in step, partition by partition."""

from collections.abc import Mapping, Sequence

from support.kafka import KafkaRecord

from stream_router.core.routing.header import HEADER, Routing, parse_routing
from stream_router.core.routing.partitioner import WeightedPartitioner, record_key
from stream_router.core.routing.split import Split


def audit(
    source: Sequence[KafkaRecord],
    lanes: Mapping[str, Sequence[KafkaRecord]],
    splits: Mapping[int, Split],
    route: str,
) -> list[str]:
    """What is wrong: a request in no lane or in two, out of order, changed, or in the lane it does not belong to.

    `splits` maps epoch to split.
    """
    faults: list[str] = []
    for partition in {record.partition for record in source}:
        queues = {lane: [r for r in records if r.partition == partition] for lane, records in lanes.items()}
        places = dict.fromkeys(queues, 0)
        for record in (r for r in source if r.partition == partition):
            takers = [
                lane
                for lane, queue in queues.items()
                if places[lane] < len(queue) and _same(record, queue[places[lane]])
            ]
            if len(takers) != 1:
                faults.append(f"{record.partition}/{record.offset} is next in {takers or 'no lane'}")
                continue
            routed = queues[takers[0]][places[takers[0]]]
            places[takers[0]] += 1
            faults += _misplaced(record, routed, takers[0], splits, route)
        faults += [
            f"{lane} has {len(queue) - places[lane]} records too many in partition {partition}"
            for lane, queue in queues.items()
            if places[lane] < len(queue)
        ]
    return faults


def routing_of(record: KafkaRecord) -> Routing:
    return parse_routing(record.headers)


def _same(source: KafkaRecord, routed: KafkaRecord) -> bool:
    return (
        (source.key, source.value, source.timestamp) == (routed.key, routed.value, routed.timestamp)
        and routed.headers[:-1] == source.headers
        and routed.headers[-1][0] == HEADER
    )


def _misplaced(
    source: KafkaRecord, routed: KafkaRecord, lane: str, splits: Mapping[int, Split], route: str
) -> list[str]:
    routing = routing_of(routed)
    key = record_key(source.key, source.topic, source.partition, source.offset)
    split = splits[routing.epoch]
    right = WeightedPartitioner(route, routing.rollout).lane(key, split)
    return [] if right == lane else [f"{source.partition}/{source.offset} is in {lane}, not in {right}"]
