"""For users' tests: the keys of a route without a Redis, by the same rules, in memory."""

from stream_router.testing.split_store import FakeSplitStore

__all__ = ["FakeSplitStore"]
