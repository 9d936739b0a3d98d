"""Ragged rows of token ids, and a store on disk of the ids of texts."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np

from ensemble.storage.atomic import atomic_path

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

    The directory holds files that are never changed, each with some texts and named by the SHA-256
    of its own content. So a file is whole and right, or is seen not to be and is removed; and
    processes that write at the same time write different files, or the same one twice.

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
        name = hashlib.sha256(content).hexdigest() + _SUFFIX
        with atomic_path(self._directory / name) as path:
            path.write_bytes(content)

    def shards(self) -> Iterator[tuple[list[bytes], Tokens]]:
        """Read what is stored, file by file; a damaged file is removed and not given."""
        # Hidden files are what other processes are writing at this moment.
        for path in sorted(self._directory.glob(f"[0-9a-f]*{_SUFFIX}")):
            if (shard := _read_shard(path)) is not None:
                yield shard


def _read_shard(path: Path) -> tuple[list[bytes], Tokens] | None:
    from safetensors.numpy import load

    try:
        content = path.read_bytes()
    except OSError:  # removed since it was listed, or closed to us: then it is tokenized anew
        return None
    if hashlib.sha256(content).hexdigest() != path.name.removesuffix(_SUFFIX):
        with suppress(OSError):
            path.unlink()
        return None
    arrays = load(content)
    keys = arrays["digests"].tobytes()
    digests = [keys[i : i + DIGEST_BYTES] for i in range(0, len(keys), DIGEST_BYTES)]
    return digests, Tokens(arrays["ids"], arrays["offsets"])
