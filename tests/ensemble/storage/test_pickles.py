"""Pickles are found in whatever they are wrapped, and nothing else is taken for one."""

from __future__ import annotations

import base64
import bz2
import gzip
import io
import json
import lzma
import pickle
import tarfile
import zlib
from typing import Any

import numpy as np
import pytest

from ensemble.storage.pickles import pickle_in

STATE = {"weights": [0.1, 0.2], "name": "mine", "kind": np.float64}


def _tar(content: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        info = tarfile.TarInfo("model")
        info.size = len(content)
        archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def _arrays(**arrays: Any) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize(
    "wrap",
    [
        bytes,
        gzip.compress,
        bz2.compress,
        lzma.compress,
        zlib.compress,
        _tar,
        lambda content: gzip.compress(_tar(content)),
    ],
)
def test_pickles_are_found(protocol: int, wrap: Any) -> None:
    assert pickle_in(wrap(pickle.dumps(STATE, protocol=protocol))) is not None


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode, bytes.hex])
def test_pickles_in_text_are_found(protocol: int, encode: Any) -> None:
    text = encode(pickle.dumps(STATE, protocol=protocol))
    text = text if isinstance(text, str) else text.decode()
    assert "a pickle written in" in str(pickle_in(json.dumps({"model": text}).encode()))


def test_a_pickle_among_other_bytes_is_found() -> None:
    content = b"SQLite format 3\0" + bytes(100) + pickle.dumps(STATE) + bytes(100)
    assert pickle_in(content) == "a pickle among other bytes"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b".",
        b"N.",
        b"tree\nversion=v4\nnum_class=3\n",
        json.dumps({"prior": [0.1, 0.2], "text": "gAAAAA a name"}).encode(),
        np.random.default_rng(0).bytes(100_000),
        _arrays(weights=np.ones((3, 3)), names=np.array(["a", "b"])),
        gzip.compress(b"1.0,2.0\n" * 100, mtime=0),
    ],
)
def test_what_is_no_pickle_is_let_through(content: bytes) -> None:
    assert pickle_in(content) is None
