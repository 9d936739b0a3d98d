"""Ways to damage a fit, or to forge one, and what is said of each."""

from __future__ import annotations

import io
import json
import os
import pickle
import shutil
import zipfile
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from ensemble.storage.directories import read_manifest
from ensemble.storage.hashing import hash_file
from ensemble.storage.json_files import write_checksummed

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def reseal(directory: Path, **changes: Any) -> None:
    """Make a manifest that holds for what is there, as whoever forges a fold would."""
    manifest = read_manifest(directory) if not changes.pop("files", None) else None
    if manifest is None:
        manifest = json.loads((directory / "manifest.json").read_text())
        names = [p for p in directory.rglob("*") if p.is_file() and p.name != "manifest.json"]
        manifest["files"] = {p.relative_to(directory).as_posix(): hash_file(p) for p in names}
    write_checksummed(directory / "manifest.json", {**manifest, **changes})


def flip(path: Path) -> None:
    """Change one bit of a file."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))


def _train_ids(place: Path, change: Callable[[pl.DataFrame], pl.DataFrame]) -> None:
    table = pl.read_parquet(place / "train_ids.parquet")
    change(table).write_parquet(place / "train_ids.parquet")
    reseal(place, files=True)


def _leak(place: Path) -> None:
    """Learn from a held-out row, and say so."""
    held_out = pl.read_parquet(place / "oof.parquet")["id"][:1]
    row = pl.DataFrame({"id": held_out, "stage": ["train"]})
    _train_ids(place, lambda table: pl.concat([table[1:], row]).sort("id"))


def _fewer(place: Path) -> None:
    _train_ids(place, lambda table: table[1:])


def _other_rows(place: Path) -> None:
    shutil.copy(place.parent / "fold-2" / "oof.parquet", place / "oof.parquet")
    reseal(place, files=True)


def _no_numbers(place: Path) -> None:
    table = pl.read_parquet(place / "test.parquet")
    table.with_columns(logit_a=pl.lit(float("inf")).cast(pl.Float32)).write_parquet(
        place / "test.parquet"
    )
    reseal(place, files=True)


def _pickled(place: Path) -> None:
    (place / "model" / "weights.bin").write_bytes(pickle.dumps({"a": 1}))
    reseal(place, files=True)


def _packed(make: Callable[[bytes], bytes]) -> Callable[[Path], object]:
    def damage(place: Path) -> None:
        (place / "model" / "weights.bin").write_bytes(make(pickle.dumps({"a": [1, 2]}, 0)))
        reseal(place, files=True)

    return damage


def _in_zip(content: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("fine.txt", "text " * 2000)
        archive.writestr("hidden", content)
    return buffer.getvalue()


def _objects(_: bytes) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.asarray([{}], dtype=object), allow_pickle=True)
    return buffer.getvalue()


def _no_counts(place: Path) -> None:
    manifest = read_manifest(place)
    del manifest["rows"]
    write_checksummed(place / "manifest.json", manifest)


def _extra(place: Path) -> None:
    (place / "run_me.py").write_text("print(1)")
    reseal(place, files=True)


def _link(place: Path) -> None:
    (place / "model" / "link").symlink_to("/etc/hostname")


def _linked_table(place: Path) -> None:
    (place / "oof.parquet").rename(place.parent / "oof.parquet")
    (place / "oof.parquet").symlink_to(place.parent / "oof.parquet")


def _pipe(place: Path) -> None:
    os.mkfifo(place / "model" / "pipe")


def _code(place: Path) -> None:
    parts = read_manifest(place)["key_parts"]
    code = {**parts["code"], "source": "0" * 64}
    reseal(place, key="0" * 64, key_parts={**parts, "code": code})


def _another_learner(place: Path) -> None:
    reseal(place, learner="q")


def _many_rows(place: Path) -> None:
    pl.DataFrame({"id": ["x"] * 100_000, "stage": ["train"] * 100_000}).write_parquet(
        place / "train_ids.parquet"
    )
    reseal(place, files=True)


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "a flipped byte": (lambda p: flip(p / "oof.parquet"), "not what its manifest says"),
    "a missing table": (lambda p: (p / "test.parquet").unlink(), "missing or foreign files"),
    "no manifest": (lambda p: (p / "manifest.json").unlink(), "has no manifest"),
    "a flipped manifest": (lambda p: flip(p / "manifest.json"), ""),
    "no object": (lambda p: (p / "manifest.json").write_text("[1]"), "cannot be read: TypeError"),
    "deep": (lambda p: (p / "manifest.json").write_text("[" * 100_000), "RecursionError"),
    "odd": (lambda p: (p / "manifest.json").write_text('{"key": 1, "key_parts": 3}'), "cannot be"),
    "no counts": (_no_counts, "counts other training rows"),
    "other counts": (lambda p: reseal(p, rows={"train": 1}), "counts other training rows"),
    "a leak": (_leak, "1 that it may not see, 1 are missing"),
    "fewer rows": (_fewer, "rows, and should have"),
    "many rows": (_many_rows, "has 100,000 rows, and should have"),
    "rows of another fold": (_other_rows, "rows that it should|rows, and should have"),
    "no numbers": (_no_numbers, "no numbers"),
    "a pickle": (_pickled, "is a pickle"),
    "a pickle in text": (_packed(lambda content: content), "is a pickle"),
    "a packed pickle": (_packed(zlib.compress), "compressed: a pickle"),
    "a pickle in an archive": (_packed(_in_zip), "member hidden: a pickle"),
    "objects of NumPy": (_packed(_objects), "array of objects"),
    "a foreign file": (_extra, "such as no fit writes: run_me.py"),
    "a link": (_link, "is a link"),
    "a linked table": (_linked_table, "is a link"),
    "a pipe": (_pipe, "no plain file"),
    "other code": (_code, "the plugin's code has changed"),
    "the name of another": (_another_learner, "of another learner"),
}
