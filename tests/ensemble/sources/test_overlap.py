import polars as pl

from ensemble import find_duplicates
from ensemble.battles.plan import make_plan
from ensemble.battles.schema import BATTLE_SCHEMA
from ensemble.config.settings import Folds
from ensemble.sources.overlap import Links, overlap

_LONG = "a sentence that goes on for a while, with a number in it: {} and then some more words. "


def _row(name: str, source: str, prompt: str, answer: str | None = None) -> dict[str, object]:
    role = {"arena": "target", "test": "test"}.get(source, "ignore")
    return {
        "id": name,
        "source": source,
        "role": role,
        "prompt": [prompt],
        "response_a": [answer or f"{name} says this"],
        "response_b": [f"{answer or name} and that"],
        "label_a": None if role == "test" else 1.0,
        "label_b": None if role == "test" else 0.0,
        "label_tie": None if role == "test" else 0.0,
        "is_test": role == "test",
        "model_a": None,
        "model_b": None,
    }


_LETTER = "We met at the station in the rain and spoke of nothing but the price of old clocks"
_ROWS = [
    _row("t1", "arena", "How do I bake bread at home with rye flour and no oven?"),
    _row("t2", "arena", _LETTER),
    _row("t3", "arena", "Name seven rivers of Siberia", _LONG.format(3) * 3),
    _row("t4", "arena", "Explain monads to a plumber"),
    _row("e1", "extra", "How do I bake bread at home with rye flour and no oven?"),
    _row("e2", "extra", _LETTER + ", no"),
    _row("e3", "extra", "List some Russian streams", _LONG.format(3) * 3),
    _row("e4", "extra", "Nothing like the others at all: chess openings"),
    _row("e5", "extra", "Nothing like the others at all: chess openings"),
    _row("o1", "other", "Nothing like the others at all: chess openings"),
    _row("x1", "test", _LETTER),
]


def _links(rows: list[dict[str, object]]) -> Links:
    battles = pl.DataFrame(rows, schema=BATTLE_SCHEMA)
    found = find_duplicates(battles)
    planned = make_plan(battles, found.clusters, Folds(n_splits=2), seed=0)
    return Links.of(planned.plan, found.pairs)


def test_each_kind_of_link_counts_the_rows_that_were_planted() -> None:
    found = overlap(_links(_ROWS), "extra")
    assert found["target"] == {"same_prompt": 1, "near_prompt": 2, "same_responses": 1, "any": 3}
    assert found["test"] == {"same_prompt": 0, "near_prompt": 1, "same_responses": 0, "any": 1}
    assert found["sources"]["other"]["same_prompt"] == 2
    assert found["itself"]["same_prompt"] == 1


def test_the_plan_cuts_a_row_in_the_fold_that_holds_its_like() -> None:
    links = _links(_ROWS)
    cut = overlap(links, "extra")["cut"]
    folds = {row["id"]: row["fold"] for row in links.plan.frame.to_dicts()}
    assert cut["rows"] == 3
    assert cut["per_fold"] == [[folds[t] for t in ("t1", "t2", "t3")].count(k) for k in (0, 1)]


def test_rows_of_a_cluster_in_several_blocks_of_time_are_cut_from_each() -> None:
    rows = [
        _row("t1", "arena", _LETTER),
        _row("t2", "arena", "Name seven rivers of Siberia"),
        _row("t3", "arena", _LETTER + ", no"),
        _row("t4", "arena", "Explain monads to a plumber"),
        _row("t5", "arena", _LETTER),
        _row("e1", "extra", _LETTER),
    ]
    battles = pl.DataFrame(rows, schema=BATTLE_SCHEMA)
    found = find_duplicates(battles)
    times = pl.DataFrame({"id": battles["id"], "day": [2, 1, 3, 4, 5, 0]})
    settings = Folds(n_splits=4, scheme="time", time_column="day")
    planned = make_plan(battles, found.clusters, settings, seed=0, metadata=times)
    cut = overlap(Links.of(planned.plan, found.pairs), "extra")["cut"]
    assert cut == {"per_fold": [1, 1, 0, 1], "rows": 1}


def test_a_test_set_that_is_not_there_is_not_clean() -> None:
    assert overlap(_links(_ROWS[:-1]), "extra")["test"] is None


def test_a_conversation_in_an_answer_counts_as_a_prompt_and_an_answer_in_a_prompt_as_one() -> None:
    answer = _LONG.format(3) * 3
    within = _row(
        "e6", "extra", "", f"Human: {_LETTER}\n\nAssistant: Whatever you like to say here"
    )
    quoted = _row("e7", "extra", f"Please put this into plain words for me: {answer}")
    for row, kind in ((within, "near_prompt"), (quoted, "same_responses")):
        found = overlap(_links([*_ROWS[:4], row]), "extra")["target"]
        assert (found[kind], found["any"]) == (1, 1)
