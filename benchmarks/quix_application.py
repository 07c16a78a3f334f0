"""The quixstreams application of the benchmarks: exactly once, with the client settings of the others."""

from quixstreams import Application


def application(brokers: str, source: str, seconds: float) -> Application:
    """Commits a transaction every `seconds`."""
    return Application(
        broker_address=brokers,
        consumer_group=f"{source}.quix",
        auto_offset_reset="earliest",
        processing_guarantee="exactly-once",
        commit_interval=seconds,
        auto_create_topics=False,
        use_changelog_topics=False,
        loglevel="ERROR",
        consumer_extra_config={
            "fetch.queue.backoff.ms": 10,
            "queued.min.messages": 100_000,
            "isolation.level": "read_committed",
        },
        producer_extra_config={
            "compression.type": "lz4",
            "linger.ms": 5,
            "queue.buffering.max.messages": 1_000_000,
            "retry.backoff.ms": 10,
        },
    )
