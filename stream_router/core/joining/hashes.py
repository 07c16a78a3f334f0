"""Hashes of request ids, of entities and of text, many at a time."""

from collections.abc import Iterable
from typing import Final

import numpy as np
from xxhash import xxh3_64_digest, xxh3_128_digest

from stream_router.core.evidence import Integers
from stream_router.core.joining.table import Keys

_BIG_ENDIAN: Final = np.dtype(">u8")


def keys_of(request_ids: Iterable[str]) -> Keys:
    """xxh3_128 of each id, shape (n, 2): the higher half is the order hash, the lower chooses a place in a table."""
    digests = b"".join(map(xxh3_128_digest, map(str.encode, request_ids)))
    return np.frombuffer(digests, _BIG_ENDIAN).reshape(-1, 2).astype(np.uint64)


def order_of(keys: Keys) -> Integers:
    """Order hashes as signed integers."""
    return keys[:, 0].astype(np.int64)


def hashes_of(texts: Iterable[bytes]) -> Integers:
    """xxh3_64 of each as a signed integer."""
    digests = b"".join(map(xxh3_64_digest, texts))
    return np.frombuffer(digests, _BIG_ENDIAN).astype(np.uint64).astype(np.int64)


def turns(keys: Keys) -> Integers:
    """How many equal keys come before each: shape (n,)."""
    order = np.argsort(keys[:, 1], kind="stable")
    low = keys[order, 1]
    equal = low[1:] == low[:-1]
    found = np.zeros(len(keys), np.int64)
    if equal.any():
        number = np.arange(len(keys))
        first = np.maximum.accumulate(np.where(np.concatenate([[False], equal]), 0, number))
        found[order] = number - first
    return found


def firsts(keys: Keys) -> Integers:
    """The place of the first that is equal to each: shape (n,)."""
    order = np.argsort(keys[:, 1], kind="stable")
    low = keys[order, 1]
    begins = np.flatnonzero(np.concatenate([[True], low[1:] != low[:-1]])[: len(keys)])
    found = np.empty(len(keys), np.int64)
    found[order] = np.repeat(order[begins], np.diff(begins, append=len(keys)))
    return found
