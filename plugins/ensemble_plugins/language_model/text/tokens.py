"""Ragged rows of token ids, and a store on disk of the ids of texts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np

from ensemble.storage.shards import add_shard, read_shard, shard_paths

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import ArrayLike, NDArray

DIGEST_BYTES = 16
"""Length of a text's digest: among a billion texts two share one with a chance below 1e-20."""

_SUFFIX = ".safetensors"


@dataclass(frozen=True, eq=False)
class Tokens:
    """Rows of token ids, one after the other in one array.

    Parameters
    ----------
    ids
        ``(total,)`` int32.
    offsets
        ``(n + 1,)`` int64: row ``i`` is ``ids[offsets[i]:offsets[i + 1]]``.
    """

    ids: NDArray[np.int32]
    offsets: NDArray[np.int64]

    @classmethod
    def from_rows(cls, rows: Sequence[NDArray[np.int32]]) -> Self:
        """Lay rows one after the other."""
        offsets = np.zeros(len(rows) + 1, dtype=np.int64)
        np.cumsum([len(row) for row in rows], out=offsets[1:])
        empty = np.zeros(0, dtype=np.int32)
        ids = np.concatenate([empty, *rows], dtype=np.int32, casting="same_kind")
        return cls(ids, offsets)

    @classmethod
    def concatenate(cls, many: Sequence[Tokens]) -> Self:
        """Put all rows of the first before those of the second, and so on."""
        return cls.from_rows([tokens.row(i) for tokens in many for i in range(len(tokens))])

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens of each row, ``(n,)``."""
        return np.diff(self.offsets)

    def row(self, i: int) -> NDArray[np.int32]:
        """Give row ``i``, counted from 0, as a view.

        Raises
        ------
        IndexError
            There is no such row; rows are not counted from the end.
        """
        if not 0 <= i < len(self):
            raise IndexError(f"row {i} of {len(self)}")
        return self.ids[self.offsets[i] : self.offsets[i + 1]]

    def take(self, indices: ArrayLike) -> Self:
        """Copy the rows of these numbers, in this order; a row may be taken more than once."""
        wanted = np.asarray(indices, dtype=np.int64)
        return self.from_rows([self.row(int(i)) for i in wanted])


class TokenStore:
    """Token ids of texts, on disk, by the digest of each text.

    The directory holds files of ``storage.shards``, each with some texts.

    Parameters
    ----------
    directory
        For one tokenizer alone: what a text's ids depend on beside the text must be in its name.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def add(self, digests: Sequence[bytes], tokens: Tokens) -> None:
        """Write the ids of texts as one file.

        Parameters
        ----------
        digests
            ``n`` digests of ``DIGEST_BYTES`` each.
        tokens
            Their ids, ``n`` rows.

        Raises
        ------
        EnsembleError
            The disk is full or cannot be written.
        """
        from safetensors.numpy import save

        keys = np.frombuffer(b"".join(digests), dtype=np.uint8).reshape(-1, DIGEST_BYTES)
        content = save({"digests": keys, "ids": tokens.ids, "offsets": tokens.offsets})
        add_shard(self._directory, content, _SUFFIX)

    def shards(self) -> Iterator[tuple[list[bytes], Tokens]]:
        """Read what is stored, file by file; a damaged file is removed and not given."""
        for path in shard_paths(self._directory, _SUFFIX):
            if (content := read_shard(path)) is not None:
                yield _parsed(content)


def _parsed(content: bytes) -> tuple[list[bytes], Tokens]:
    from safetensors.numpy import load

    arrays = load(content)
    keys = arrays["digests"].tobytes()
    digests = [keys[i : i + DIGEST_BYTES] for i in range(0, len(keys), DIGEST_BYTES)]
    return digests, Tokens(arrays["ids"], arrays["offsets"])
