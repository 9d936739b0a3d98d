"""Finding pickles in files, without reading one: bare, compressed, in archives, in text."""

from __future__ import annotations

import base64
import bz2
import gzip
import io
import lzma
import pickletools
import re
import tarfile
import zipfile
import zlib
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

_MOST = 64 << 20
"""Bytes of a file that are looked at."""
_DEEPEST = 3
"""Archives in archives."""
_FEWEST = 3
"""Operations that make a pickle: a full stop alone would be one."""
_BASE64 = re.compile(rb"gA[I-X][A-Za-z0-9+/_=-]{6,}")
_HEX = re.compile(rb"80(?:02|03|0495|0595)(?:[0-9a-fA-F]{2}){4,}")
_FRAMED = re.compile(rb"\x80[\x04\x05]\x95", re.DOTALL)
_EXPAND: dict[bytes, Callable[[bytes], bytes]] = {
    b"\x1f\x8b": gzip.decompress,
    b"BZh": bz2.decompress,
    b"\xfd7zXZ": lzma.decompress,
    b"x\x01": zlib.decompress,
    b"x\x5e": zlib.decompress,
    b"x\x9c": zlib.decompress,
    b"x\xda": zlib.decompress,
}


def pickled_files(directory: Path) -> list[str]:
    """List files below a directory that hold a pickle, each with what it is.

    Returns
    -------
    list of str
        ``"model.bin (a pickle)"``, ``"w.npz, member w.npy (a NumPy array of objects)"``.
    """
    found = []
    for path in sorted(directory.rglob("*")):
        if path.is_file():
            with path.open("rb") as file:
                what = pickle_in(file.read(_MOST))
            if what:
                found.append(f"{path.relative_to(directory).as_posix()} ({what})")
    return found


def pickle_in(content: bytes, depth: int = 0) -> str | None:
    """Say what pickle some bytes hold; None where they hold none."""
    if content.startswith(b"\x93NUMPY"):
        return "a NumPy array of objects, which is a pickle" if _has_objects(content) else None
    if is_pickle(content):
        return "a pickle"
    if depth < _DEEPEST:
        for name, member in _members(content):
            what = pickle_in(member, depth + 1)
            if what:
                return f"{name}: {what}"
    return _embedded(content)


def is_pickle(content: bytes) -> bool:
    """Say whether bytes begin with a pickle, as ``pickle``, joblib, dill and torch write it."""
    if content[:1] == b"\x80" and content[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):
        return content[2:3] == b"\x95" or _operations(content)[0] >= _FEWEST
    operations, end = _operations(content[:_MOST])
    return operations >= _FEWEST and end >= len(content.rstrip())


def _operations(content: bytes) -> tuple[int, int]:
    """Count the operations of a pickle that ends well, and say where it ends; else ``(0, 0)``."""
    count = 0
    try:
        for _, _, place in pickletools.genops(content):
            count, end = count + 1, (place or 0) + 1
    except Exception:
        return 0, 0
    return count, end


def _has_objects(content: bytes) -> bool:
    return re.search(rb"'descr':[^}]*\|O", content[:4096]) is not None


def _members(content: bytes) -> Iterator[tuple[str, bytes]]:
    """Open what is compressed or an archive, as far as it can be."""
    for mark, expand in _EXPAND.items():
        if content.startswith(mark):
            with suppress(Exception):
                yield "compressed", expand(content)
    if content.startswith(b"PK\x03\x04"):
        with suppress(Exception), zipfile.ZipFile(io.BytesIO(content)) as archive:
            for info in archive.infolist():
                with suppress(Exception):
                    yield f"member {info.filename}", archive.read(info)
    if content[257:262] == b"ustar":
        with suppress(Exception), tarfile.open(fileobj=io.BytesIO(content)) as tape:
            for entry in tape.getmembers():
                member = tape.extractfile(entry)
                if member is not None:
                    yield f"member {entry.name}", member.read()


def _embedded(content: bytes) -> str | None:
    for match in _FRAMED.finditer(content):
        if _operations(content[match.start() :])[0] >= _FEWEST:
            return "a pickle among other bytes"
    for match in _BASE64.finditer(content):
        text = match.group()
        with suppress(Exception):
            plain = base64.b64decode(text + b"=" * (-len(text) % 4), altchars=_altchars(text))
            if is_pickle(plain):
                return "a pickle written in base 64"
    for match in _HEX.finditer(content):
        with suppress(Exception):
            if is_pickle(bytes.fromhex(match.group().decode())):
                return "a pickle written in hex digits"
    return None


def _altchars(text: bytes) -> bytes:
    return b"-_" if b"-" in text or b"_" in text else b"+/"
