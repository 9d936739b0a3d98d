"""Finding pickles in files, without reading one: bare, compressed, in archives, in text."""

from __future__ import annotations

import base64
import bz2
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
    from typing import BinaryIO

_ZIP = b"PK\x03\x04"
_MOST = 64 << 20
"""Bytes of a file that are looked at."""
_DEEPEST = 3
"""Archives in archives."""
_FEWEST = 3
"""Operations that make a pickle: a full stop alone would be one."""
_BASE64 = re.compile(rb"gA[I-X][A-Za-z0-9+/_=-]{6,}")
_HEX = re.compile(rb"80(?:02|03|0495|0595)(?:[0-9a-fA-F]{2}){4,}")
_FRAMED = re.compile(rb"\x80[\x04\x05]\x95", re.DOTALL)
_ALL = 256 << 20
"""Bytes that are looked at of all members of an archive: more are made to keep somebody busy."""


def _inflate(content: bytes) -> bytes:
    return zlib.decompressobj(wbits=47).decompress(content, _MOST)  # of zlib, or of gzip


_EXPAND: dict[bytes, Callable[[bytes], bytes]] = {
    b"\x1f\x8b": _inflate,
    b"BZh": lambda content: bz2.BZ2Decompressor().decompress(content, _MOST),
    b"\xfd7zXZ": lambda content: lzma.LZMADecompressor().decompress(content, _MOST),
    b"x\x01": _inflate,
    b"x\x5e": _inflate,
    b"x\x9c": _inflate,
    b"x\xda": _inflate,
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


def pickle_of_file(path: Path) -> str | None:
    """Say what pickle a file is or packs; None where it is none.

    Bytes in the midst of others are not looked at: among billions of numbers some look like one.
    """
    with path.open("rb") as file:
        content = file.read(_MOST)
        found = pickle_in(content, embedded=False)
        if found is None and content.startswith(_ZIP) and len(content) == _MOST:
            inside = (pickle_in(one, 1, embedded=False) for _, one in _zip_members(file))
            found = next(filter(None, inside), None)
    return found


def pickle_in(content: bytes, depth: int = 0, *, embedded: bool = True) -> str | None:
    """Say what pickle some bytes hold; None where they hold none.

    Parameters
    ----------
    content
        The bytes.
    depth
        In how many archives they were.
    embedded
        Look among other bytes, too.
    """
    if content.startswith(b"\x93NUMPY"):
        return "a NumPy array of objects, which is a pickle" if _has_objects(content) else None
    if is_pickle(content):
        return "a pickle"
    if depth < _DEEPEST:
        for name, member in _members(content):
            what = pickle_in(member, depth + 1, embedded=embedded)
            if what:
                return f"{name}: {what}"
    return _embedded(content) if embedded else None


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
    if content.startswith(_ZIP):
        yield from _zip_members(io.BytesIO(content))
    if content[257:262] == b"ustar":
        with suppress(Exception), tarfile.open(fileobj=io.BytesIO(content)) as tape:
            for entry in tape:
                member = tape.extractfile(entry)
                if member is not None:
                    yield f"member {entry.name}", member.read(_MOST)


def _zip_members(file: BinaryIO) -> Iterator[tuple[str, bytes]]:
    left = _ALL
    with suppress(Exception), zipfile.ZipFile(file) as archive:
        for info in archive.infolist():
            with suppress(Exception), archive.open(info) as member:
                content = member.read(min(_MOST, left))
                left -= len(content)
                yield f"member {info.filename}", content


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
