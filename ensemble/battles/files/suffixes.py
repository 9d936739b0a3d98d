"""What the end of a file's name says: the kind of table, and what it is packed in."""

from __future__ import annotations

from pathlib import PurePath, PurePosixPath

KINDS = {
    ".csv": "csv",
    ".tsv": "csv",
    ".tab": "csv",
    ".parquet": "parquet",
    ".arrow": "arrow",
    ".feather": "arrow",
    ".ipc": "arrow",
    ".jsonl": "lines",
    ".ndjson": "lines",
    ".json-lines": "lines",
    ".json": "json",
}
"""The kind of table by suffix."""
PACKED = (".gz", ".gzip", ".zst", ".zstd", ".zip")
"""Suffixes that say nothing of the table inside."""
_BESIDE = ("dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json")
"""What libraries write beside the tables of a data set."""


def table_suffixes() -> tuple[str, ...]:
    """Name the suffixes that can be read."""
    return tuple(KINDS)


def is_table_name(name: str) -> bool:
    """Say whether a file in a directory is a part of its table, by its name."""
    return (
        not name.startswith((".", "_"))
        and name not in _BESIDE
        and suffixes_of(PurePosixPath(name)) is not None
    )


def suffixes_of(path: PurePath) -> str | None:
    """Say which kind of table a file is by its name; ``"packed"`` where only what is inside tells.

    None where the name says nothing that can be read.
    """
    name = path.name.lower()
    packed = next((end for end in PACKED if name.endswith(end)), None)
    if packed:
        name = name.removesuffix(packed)
    found = next((kind for end, kind in KINDS.items() if name.endswith(end)), None)
    return found or ("packed" if packed == ".zip" else None)
