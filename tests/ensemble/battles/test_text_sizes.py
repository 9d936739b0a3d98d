from __future__ import annotations

import polars as pl

from ensemble.battles.text_sizes import text_bytes

LIST = pl.List(pl.String)
SCHEMA = {"prompt": LIST, "response_a": LIST, "response_b": LIST}


def test_bytes_of_all_turns_are_counted_and_null_has_none() -> None:
    rows = [(["aé", None], [None], ["z"]), ([], ["x"], None), (None, ["yy"], [])]
    assert text_bytes(pl.DataFrame(rows, schema=SCHEMA, orient="row")).tolist() == [4, 1, 2]
    assert text_bytes(pl.DataFrame(schema=SCHEMA)).tolist() == []
