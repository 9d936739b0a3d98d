"""Stored JSON and tables changed in what they say, with hashes that hold, as who forges them does.

Bytes that are damaged fail at their hash; what is behind it is reached in this way alone.
"""

from __future__ import annotations

import io
import json
import random
from typing import TYPE_CHECKING, Any

import polars as pl

from ensemble.storage.hashing import fingerprint, hash_file
from ensemble.storage.json_files import write_checksummed

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

VALUES: tuple[Any, ...] = (
    *(None, True, 0, -1, 2**70, 0.5, -1e300, "", "x", "../../x", "/etc/passwd", "a\0b", "\x1b[2J"),
    *("\u202e", "x" * 10_000, [], {}, [None], [[]], {"": 0}, {"../x": "0" * 64}, [2**70], "0" * 64),
)


def change_json(chance: random.Random, value: Any) -> Any:
    """Change one value, or drop, add or rename a key, anywhere within."""
    if isinstance(value, dict) and value and chance.random() < 0.85:
        key = chance.choice(sorted(value))
        kind = chance.random()
        if kind < 0.1:
            return {name: item for name, item in value.items() if name != key}
        if kind < 0.2:
            name = chance.choice(("../../evil", "/etc/evil", "a\0b", "", "x" * 300, "..", "CON"))
            return {name if one == key else one: item for one, item in value.items()}
        return value | {key: change_json(chance, value[key])}
    if isinstance(value, list) and value and chance.random() < 0.85:
        at = chance.randrange(len(value))
        kind = chance.random()
        if kind < 0.15:
            return value[:at] + value[at + 1 :]
        if kind < 0.3:
            return [*value, value[at]]
        return [change_json(chance, one) if at == place else one for place, one in enumerate(value)]
    return chance.choice(VALUES)


def change_table(chance: random.Random, table: pl.DataFrame) -> pl.DataFrame:
    """Change a column's type, drop or rename it, or repeat, drop or empty rows."""
    name = chance.choice(table.columns)
    changes: list[Callable[[], pl.DataFrame]] = [
        lambda: table.drop(name),
        lambda: table.rename({name: "../x"}),
        lambda: table.with_columns(pl.lit(None).alias(name)),
        lambda: table.with_columns(pl.lit("x\x1b[2J").alias(name)),
        lambda: table.with_columns(pl.lit(-(10**9)).alias(name)),
        lambda: table.with_columns(pl.lit(float("nan")).alias(name)),
        lambda: table.with_columns(pl.lit(float("inf")).cast(pl.Float32).alias(name)),
        lambda: table.with_columns(pl.lit([[1]]).alias(name)),
        lambda: table.with_columns(pl.struct(pl.lit(1).alias("a")).alias(name)),
        lambda: table.with_columns(pl.col(name).cast(pl.String, strict=False)),
        lambda: table.with_columns(pl.col(name).cast(pl.Int8, strict=False)),
        lambda: table.with_columns(pl.col(name).cast(pl.Categorical, strict=False)),
        lambda: table.with_columns(pl.col(name).shift(1)),
        lambda: table.with_columns(pl.lit(b"\xff\x00").alias(name)),
        lambda: table.head(0),
        lambda: table.head(1),
        lambda: pl.concat([table, table]),
        lambda: table.reverse(),
        lambda: pl.concat([table.head(1)] * 5000),
        lambda: pl.DataFrame({"id": ["a"]}),
    ]
    try:
        return chance.choice(changes)()
    except pl.exceptions.PolarsError:  # a column of that type has no such cast
        return table.head(1)


def parquet(table: pl.DataFrame) -> bytes:
    buffer = io.BytesIO()
    table.write_parquet(buffer)
    return buffer.getvalue()


def forge(directory: Path, path: Path, chance: random.Random) -> str:
    """Change what a file of a stored directory says, and seal its manifest anew."""
    if path.suffix == ".parquet":
        path.write_bytes(parquet(change_table(chance, pl.read_parquet(path))))
    elif path.suffix == ".json":
        value = json.loads(path.read_text(encoding="utf-8"))
        seal(path, change_json(chance, value))
    else:
        path.write_bytes(chance.randbytes(50))
    reseal(directory, path)
    return path.name


def seal(path: Path, value: Any) -> None:
    """Write JSON; with a seal where it can have one."""
    try:
        write_checksummed(path, value)
    except (ValueError, AttributeError, TypeError):
        path.write_text(json.dumps(value), encoding="utf-8")


def reseal(directory: Path, path: Path) -> None:
    """Have the manifest of a directory say what is there now, unless it was itself changed."""
    manifest = directory / "manifest.json"
    if path == manifest or not manifest.exists():
        return
    value = json.loads(manifest.read_text(encoding="utf-8"))
    files = (p for p in directory.rglob("*") if p.is_file() and p != manifest)
    value["files"] = {p.relative_to(directory).as_posix(): hash_file(p) for p in files}
    write_checksummed(manifest, value)


def rekey(manifest: Path) -> None:
    """Have a manifest's key be that of its own parts."""
    value = json.loads(manifest.read_text(encoding="utf-8"))
    value["key"] = fingerprint(value.get("key_parts"))
    write_checksummed(manifest, value)
