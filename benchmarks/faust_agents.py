"""Plain Faust agents of both inputs of the monitor that do nothing.

python benchmarks/faust_agents.py BROKERS PREDICTIONS LABELS: ended by SIGTERM.
"""

import sys
from typing import Any

import faust


def application(brokers: str, *names: str) -> Any:
    app = faust.App(
        f"{names[0]}.faust",
        broker=[f"kafka://{server}" for server in brokers.split(",")],
        broker_commit_interval=0.2,
        key_serializer="raw",
        value_serializer="raw",
        consumer_auto_offset_reset="earliest",
        topic_allow_declare=False,
        topic_disable_leader=True,
        web_enabled=False,
        store="memory://",
    )

    async def read(stream: Any) -> None:
        async for _ in stream:
            pass

    for name in names:
        app.agent(app.topic(name, key_type=bytes, value_type=bytes), name=name)(read)
    return app


if __name__ == "__main__":
    app = application(*sys.argv[1:])
    sys.argv[1:] = ["worker", "--loglevel", "error", "--without-web"]
    app.main()
