"""Parquet files made to hurt: each ends in an error that says what, and none in a dead process."""

from __future__ import annotations

import base64
import gzip
import re
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest

from ensemble.battles.embeddings import read_embeddings
from tests.ensemble.battles.formats.readings import load
from tests.fuzz.forged_parquet import I32, I64, LIST, STRUCT, TEXT, Struct, forged, written
from tests.fuzz.harmless import bounded_memory, harmless
from tests.fuzz.mutations import scale
from tests.fuzz.test_bombs import _MEMORY, _READ

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

ROWS = pl.DataFrame(
    {
        "id": [f"r{i}" for i in range(9)],
        "prompt": [[f"question {i}"] for i in range(9)],
        "response_a": [["yes"]] * 9,
        "response_b": [["no"]] * 9,
        "winner": ["model_a", "model_b", "tie"] * 3,
    }
)
SOUND = written(ROWS, compression="uncompressed", statistics=False)
HUGE = 2**62


def _chunks(end: Struct) -> list[Struct]:
    return [chunk for group in end[4][1][1] for chunk in group[1][1][1]]


def _columns(number: int, value: Any, kind: int = I64) -> Callable[[Struct], object]:
    """Say something else of every column."""
    return lambda end: [chunk[3][1].update({number: (kind, value)}) for chunk in _chunks(end)]


def _tree(*nodes: tuple[bytes, int]) -> Callable[[Struct], object]:
    items = [{4: (TEXT, name), 5: (I32, below)} for name, below in nodes]
    return lambda end: end.update({2: (LIST, (STRUCT, items))})


def _all_columns_at_one_place(end: Struct) -> None:
    first, *others = _chunks(end)
    groups = end[4][1][1]
    for chunk in others:
        chunk[3][1][9] = first[3][1][9]
    end[4] = LIST, (STRUCT, groups * 2000)
    end[3] = I64, 9 * 2000


CHANGES: dict[str, tuple[Callable[[Struct], object], str]] = {
    "more rows": (lambda end: end.update({3: (I64, 10)}), "10 rows, and its parts"),
    "fewer rows": (lambda end: end.update({3: (I64, -9)}), "fewer rows than none"),
    "no parts": (lambda end: end.update({4: (LIST, (STRUCT, []))}), "9 rows, and its parts"),
    "no columns": (lambda end: end.pop(2), "lacks something"),
    "no rows told": (lambda end: end.pop(3), "lacks something"),
    "encrypted": (lambda end: end.update({8: (STRUCT, {})}), "the file is encrypted"),
    "encrypted columns": (
        lambda end: _chunks(end)[0].update({8: (STRUCT, {})}),
        "the file is encrypted",
    ),
    "elsewhere": (
        lambda end: _chunks(end)[0].update({1: (TEXT, b"/etc/passwd")}),
        "columns lie in other files",
    ),
    "many values": (_columns(5, HUGE), r"a column has 4,611,686,018,427,387,904 values"),
    "few values": (_columns(5, 1), "fewer values than rows"),
    "no values": (_columns(5, -1), "smaller than nothing"),
    "other values": (_columns(5, 12), "a column has 9 values, and says 12"),
    "large": (_columns(7, HUGE), "leads out of the file"),
    "outside": (_columns(9, HUGE), "leads out of the file"),
    "before": (_columns(9, -5), "leads out of the file|no end"),
    "in the head": (_columns(9, 1), "leads out of the file"),
    "no name": (_columns(3, (TEXT, []), LIST), "has no name"),
    "deep": (
        _tree(*[(b"x", 1)] * 500, (b"x", 0)),
        "more than 32 deep",
    ),
    "no tree": (_tree((b"root", 7), (b"x", 0)), "form no tree"),
    "two trees": (_tree((b"root", 1), (b"x", 0), (b"y", 0)), "form no tree"),
    "negative tree": (_tree((b"root", -1)), "form no tree"),
    "many columns": (_tree((b"root", 20_000), *[(b"x", 0)] * 20_000), "20,000 columns"),
    "the same bytes again": (_all_columns_at_one_place, "more bytes than the file has"),
    "Arrow": (
        lambda end: end.update(
            {5: (LIST, (STRUCT, [{1: (TEXT, b"ARROW:schema"), 2: (TEXT, b"/////w==" * 9)}]))}
        ),
        "its columns leads out|cannot be read|does not say",
    ),
}


@pytest.mark.parametrize("name", CHANGES)
def test_an_end_that_cannot_be_meant_is_told(name: str, tmp_path: Path) -> None:
    change, told = CHANGES[name]
    path = tmp_path / "t.parquet"
    path.write_bytes(forged(SOUND, lambda _: None))
    assert harmless(name, lambda: load(path)) is None, "what changes nothing is read"
    path.write_bytes(forged(SOUND, change))
    error = harmless(name, lambda: load(path))
    assert error is not None and re.search(told, str(error)), error
    assert str(path) in str(error)


OTHER_KINDS = [(1, True), (I64, 7), (TEXT, b"7"), (LIST, (I64, [7])), (LIST, (TEXT, [b"7"]))]


def _structs(end: Struct) -> dict[str, Struct]:
    """Give a struct of each kind that an end has."""
    group = end[4][1][1][0]
    chunk = group[1][1][1][0]
    node = end[2][1][1][1]
    return {"end": end, "group": group, "chunk": chunk, "column": chunk[3][1], "node": node}


@pytest.mark.parametrize("of", ["end", "group", "chunk", "column", "node"])
def test_no_field_is_believed_to_be_of_the_type_that_it_should(of: str, tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    numbers: list[int] = []
    forged(SOUND, lambda end: numbers.extend(_structs(end)[of]))
    asked = 0
    for number in {*numbers, *range(1, 12)}:
        for kind in OTHER_KINDS:
            path.write_bytes(forged(SOUND, lambda end: _structs(end)[of].update({number: kind})))  # noqa: B023
            error = harmless(f"{of}: field {number} is {kind}", lambda: load(path))
            asked += error is not None and "of another type" in str(error)
    assert asked >= 3


def test_no_field_of_a_page_is_believed_either(tmp_path: Path) -> None:
    """Heads of pages begin with fields 1 to 3, numbers all: each is made a text in turn."""
    path = tmp_path / "t.parquet"
    heads = [m.start() for m in re.finditer(rb"\x15[\x00\x04]\x15", SOUND)]
    assert heads
    told = 0
    for at in heads:
        for place in (at, at + 2):
            path.write_bytes(SOUND[:place] + b"\x18" + SOUND[place + 1 :])
            error = harmless(f"page at {at}", lambda: load(path))
            told += error is not None and "of another type" in str(error)
    assert told


ENDS = {
    "long": (SOUND[:-8] + (2**31 - 1).to_bytes(4, "little") + b"PAR1", "longer than the file"),
    "empty": (SOUND[:-8] + bytes(4) + b"PAR1", "longer than the file"),
    "encrypted": (SOUND[:-4] + b"PARE", "the file is encrypted"),
    "cut": (SOUND[:-100], "cut off"),
    "marks": (b"PAR1PAR1", "no end"),
    "one mark": (b"PAR1", "no end"),
    "doubled": (SOUND[:4] + SOUND[-8:], "longer than the file"),
}


@pytest.mark.parametrize("name", ENDS)
def test_a_file_without_its_end_is_told(name: str, tmp_path: Path) -> None:
    content, told = ENDS[name]
    path = tmp_path / "t.parquet"
    path.write_bytes(content)
    error = harmless(name, lambda: load(path))
    assert error is not None and told in str(error), error


def test_columns_of_one_name_and_tables_without_rows_are_told(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"

    def rename(end: Struct) -> None:
        for node in end[2][1][1]:
            if node[4][1] == b"winner":
                node[4] = TEXT, b"id"
        for chunk in _chunks(end):
            if chunk[3][1][3][1][1] == [b"winner"]:
                chunk[3][1][3] = LIST, (TEXT, [b"id"])

    path.write_bytes(forged(SOUND, rename))
    error = harmless("two ids", lambda: load(path))
    assert error is not None and "id" in str(error)
    for frame in (ROWS.clear(), pl.DataFrame()):
        path.write_bytes(written(frame))
        harmless("no rows", lambda: load(path))


def test_a_page_that_is_unpacked_without_end_is_refused(tmp_path: Path) -> None:
    """Heads of pages stand before their bytes: what they claim Polars takes memory for."""
    path = tmp_path / "t.parquet"
    packed = written(ROWS, compression="zstd", statistics=False)
    heads = [m.start() for m in re.finditer(rb"\x15[\x00\x04]\x15", packed)]
    assert heads
    huge = b"\xfe\xff\xff\xff\x0f"  # 2 GiB - 1
    refused = 0
    for at in heads:
        path.write_bytes(packed[: at + 3] + huge + packed[at + 8 :])
        with bounded_memory(300):
            error = harmless(f"page at {at}", lambda: load(path))
        refused += error is not None
    assert refused


# Each text is said to begin as the one before it does, with all of its 100,000 letters.
PREFIXED = (
    "UEFSMRUAFeC4DBW4ASwVwLgCFQ4VBhUGHAAAACi1L/2gMI4BAIUCAHQDBAAAAMC4AgGAAQSgnAEAABEAAACghgEA"
    "wJoMv5oMEREREQAAQA2DGgY1DGoY1DCoYVDDoIZBeAYAnIa4XJqAghygAuZpUv8qBkDSCowBFQQZLDUAGAZzY2hl"
    "bWEVAgAVDCUCGAZwcm9tcHQlAEwcAAAAFsC4AhkcGRwmABwVDBklBg4ZGAZwcm9tcHQVDBbAuAIWkLkMFugBJghJ"
    "HBUAFQ4VAgA8FsCaDBkGGSYAwLgCAAAAFpC5DBbAuAImCBboAQAoIHBhcnF1ZXQtY3BwLWFycm93IHZlcnNpb24g"
    "MjYuMC4xGRwcAAAAnAAAAFBBUjE="
)
FEW_PREFIXED = (
    "UEFSMRUAFXAVUCwVBhUOFQYVBhwAAAA4MAIAAAAGAYABBAMAAAMBDAAAGQEBFgQMCwEWADAZFRgAd2h5IHNvFQAV"
    "KhUuLBUGFQAVBhUGHAAAABVQAgAAAAYBAQAAAGEBAAAAYgEAAABjFQQZPDUAGAZzY2hlbWEVBAAVDCUCGAZwcm9t"
    "cHQlAEwcAAAAFQwlAhgCaWQlAEwcAAAAFgYZHBksJgAcFQwZJQYOGRgGcHJvbXB0FQIWBhaWARZ2JghJHBUAFQ4V"
    "AgA8FgwZBhkmAAYAAAAmABwVDBklBgAZGAJpZBUCFgYWUBZUJn5JHBUAFQAVAgA8FgYZBhkmAAYAAAAW5gEWBiYI"
    "FsoBACggcGFycXVldC1jcHAtYXJyb3cgdmVyc2lvbiAyNi4wLjEZLBwAABwAAADOAAAAUEFSMQ=="
)


def _array() -> bytes:
    """Lists of a fixed length that are null: nothing in the file, and as long as any in memory."""
    kind = pl.Array(pl.Int8, 500_000)
    return written(pl.DataFrame({"prompt": pl.Series([None] * 20_000, dtype=kind)}))


_CHECK = "from ensemble.battles.files import columnar as c; p = Path(sys.argv[1]); "
_CHECK += "list(c.parquet_chunks(p.open('rb'), p))"


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits the address space")
@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: base64.b64decode(PREFIXED), "MiB of memory, and the file has|its own size"),
        (_array, "times its own size"),
    ],
)
def test_what_no_size_tells_is_refused_too(
    make: Callable[[], bytes], reason: str, tmp_path: Path
) -> None:
    path = tmp_path / "t.parquet"
    path.write_bytes(make())
    program = _READ.replace('load_battles(Path(sys.argv[1]), source="s", role="train")', _CHECK)
    assert _CHECK in program
    command = [sys.executable, "-c", program, str(path), str(_MEMORY)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert re.search(reason, done.stdout), (done.stdout, done.stderr[-2000:])


def test_texts_that_begin_as_others_are_read(tmp_path: Path) -> None:
    content = base64.b64decode(FEW_PREFIXED)
    for name, packed in (("t.parquet", content), ("t.parquet.gz", gzip.compress(content))):
        path = tmp_path / name
        path.write_bytes(packed)
        error = harmless(name, lambda path=path: load(path))  # type: ignore[misc]
        assert error is not None and "MiB" not in str(error), "it is no table of battles"
        assert "response" in str(error) or "column" in str(error)


def test_a_file_that_says_the_same_often_is_read(tmp_path: Path) -> None:
    """Dictionaries: 20,000 rows of a prompt of 4,000 letters take a few hundred kilobytes."""
    rows = 20_000
    frame = pl.DataFrame(
        {
            "id": [f"{i}" for i in range(rows)],
            "prompt": [["You are a helpful assistant. " * 140]] * rows,
            "response_a": [["yes"]] * rows,
            "response_b": [["no"]] * rows,
            "winner": ["tie"] * rows,
        }
    )
    path = tmp_path / "t.parquet"
    path.write_bytes(written(frame))
    assert path.stat().st_size < 1 << 20
    assert len(load(path).battles) == rows


def test_vectors_from_outside_are_looked_at_too(tmp_path: Path) -> None:
    path = tmp_path / "vectors.parquet"
    frame = pl.DataFrame({"id": ["a"], "embedding": [[1.0, 0.0]]})
    path.write_bytes(written(frame))
    assert len(read_embeddings(path, 0.9).ids) == 1
    path.write_bytes(forged(written(frame), _columns(5, HUGE)))
    error = harmless("vectors", lambda: read_embeddings(path, 0.9))
    assert error is not None and "4,611,686,018,427,387,904 values" in str(error)


def _forgeries(count: int) -> Iterator[tuple[str, bytes]]:
    """Change numbers anywhere in the end."""
    import random

    numbers = (0, 1, -1, 7, 2**31 - 1, -(2**31), 2**31, HUGE, -HUGE, 4, 100_000)

    def places(value: Any, kind: int) -> Iterator[tuple[Any, Any]]:
        if kind == STRUCT:
            for number, (of, held) in value.items():
                if of in (I32, I64):
                    yield value, number
                yield from places(held, of)
        elif kind == LIST:
            for item in value[1]:
                yield from places(item, value[0])

    for number in range(count * scale()):
        chance = random.Random(f"forged {number}")

        def change(end: Struct, chance: random.Random = chance) -> None:
            for _ in range(chance.choice((1, 1, 2))):
                struct, field = chance.choice(list(places(end, STRUCT)))
                struct[field] = struct[field][0], chance.choice(numbers)

        yield f"forged {number}", forged(SOUND, change)


def test_any_number_of_the_end_may_be_another(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    with bounded_memory(500):
        for name, content in _forgeries(150):
            path.write_bytes(content)
            harmless(name, lambda: load(path))
            harmless(f"{name}, drop", lambda: load(path, drop=True))
