"""Fingerprints that stand in passages of several components, out of those of all passages."""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ensemble.battles.passage_keys import NUMBER_BITS, as_rows, blocks, numbers_of
from ensemble.battles.shingles import ranges
from ensemble.processes import available_cores

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from ensemble.battles.shingles import Integers, Shingles

MOST_COMPONENTS = 100
"""What more components share counts for nothing."""

_COLUMN_BITS = np.uint64(64 - NUMBER_BITS)


class SharedRows(NamedTuple):
    """Fingerprints that stand in several components, by the passages that have them.

    Parameters
    ----------
    grams
        ``(m,)`` numbers of fingerprints, passage by passage, ascending in each.
    offsets
        ``(n + 1,)``: passage ``i`` has ``grams[offsets[i]:offsets[i + 1]]``.
    components
        ``(g,)`` how many components have each, up to one more than :data:`MOST_COMPONENTS`.
    """

    grams: NDArray[np.int32]
    offsets: Integers
    components: NDArray[np.uint8]


def as_shared_rows(keys: Shingles, components: Integers) -> SharedRows:
    """Turn the keys of all passages into rows of shared fingerprints, on all cores.

    Parameters
    ----------
    keys
        Ascending, each once. They are rewritten in place, and not to be used afterwards.
    components
        ``(n,)`` number of the component that each passage belongs to; -1 leaves it out.
    """
    own = components.astype(np.int32)
    size, known, counts = 0, 0, [np.empty(0, dtype=np.uint8)]
    with ThreadPoolExecutor(available_cores()) as pool:
        for block in _looked_at(pool, keys, own):
            packed = block.number.astype(np.uint64) << _COLUMN_BITS
            packed |= (block.gram + known).astype(np.uint64)
            # What is written is no longer than what has been read by now.
            keys[size : size + len(packed)] = packed
            size += len(packed)
            known += len(block.components)
            counts.append(np.minimum(block.components, MOST_COMPONENTS + 1).astype(np.uint8))
    keys.resize(size, refcheck=False)
    return SharedRows(*as_rows(keys, len(components)), np.concatenate(counts))


class _Shared(NamedTuple):
    """Shared fingerprints of a block.

    Parameters
    ----------
    number, gram
        ``(m,)``: a passage and a fingerprint that it has, in the order of fingerprints.
    components
        ``(g,)`` how many different components have each.
    """

    number: NDArray[np.int32]
    gram: NDArray[np.int32]
    components: Integers


def _looked_at(
    pool: ThreadPoolExecutor, keys: Shingles, components: NDArray[np.int32]
) -> Iterator[_Shared]:
    """Look at block after block, a few ahead."""
    waiting = deque[Future[_Shared]]()
    for block in blocks(keys):
        waiting.append(pool.submit(_shared, block, components))
        if len(waiting) > available_cores():
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def _shared(keys: Shingles, components: NDArray[np.int32]) -> _Shared:
    first = firsts(keys >> np.uint64(NUMBER_BITS))
    size = np.diff(np.append(first, len(keys)))
    # One that a single passage has, as most are, is in no other; nor does a component connect
    # with itself, or a passage that stands in several.
    number = numbers_of(keys[ranges(first[size > 1], size[size > 1])]).astype(np.int32)
    gram = np.repeat(np.arange((size > 1).sum(), dtype=np.int32), size[size > 1])
    own = components[number]
    number, gram, own = number[own >= 0], gram[own >= 0], own[own >= 0]
    first = firsts(gram)
    alone = _reduced(np.minimum, own, first) == _reduced(np.maximum, own, first)
    apart = ~np.repeat(alone, lengths(gram))
    number, own = number[apart], own[apart]
    gram = np.repeat(np.arange((~alone).sum(), dtype=np.int32), lengths(gram)[~alone])
    return _Shared(number, gram, _components_of(gram, own))


def firsts(values: NDArray[Any]) -> Integers:
    """Say where each run of equal values begins."""
    return np.flatnonzero(
        np.append(np.ones(min(1, len(values)), np.bool_), values[1:] != values[:-1])
    )


def lengths(values: NDArray[Any]) -> Integers:
    """Say how long each run of equal values is."""
    return np.diff(np.append(firsts(values), len(values)))


def _reduced(reduce: np.ufunc, values: NDArray[Any], first: Integers) -> NDArray[Any]:
    """Reduce runs of values; of none there are none."""
    return np.asarray(reduce.reduceat(values, first)) if len(first) else values


def _components_of(gram: NDArray[np.int32], component: NDArray[np.int32]) -> Integers:
    """Count the different components of each fingerprint."""
    pairs = (gram.astype(np.int64) << NUMBER_BITS) | component
    pairs.sort()
    return np.bincount(pairs[firsts(pairs)] >> NUMBER_BITS)
