from __future__ import annotations

import pickle

import pytest

from ensemble import errors
from ensemble.errors import ConfigError, EnsembleError, LearnerError, nearest, unknown_name


def test_an_error_says_what_where_and_how_to_mend() -> None:
    error = ConfigError("bad key", where="config.toml", hint="rename it")
    assert str(error) == "bad key\n  where: config.toml\n  hint:  rename it"


def test_input_errors_exit_with_2_and_others_with_1() -> None:
    codes = {
        kind.__name__: kind.exit_code
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, EnsembleError)
    }
    two = {name for name, code in codes.items() if code == 2}
    named = {"InputError", "ConfigError", "DataError", "FoldError", "UnknownNameError"}
    assert two == named | {"AmbiguousError"}
    assert set(codes.values()) == {1, 2}


def test_the_tree_in_the_docstring_is_the_tree_in_the_code() -> None:
    assert errors.__doc__ is not None
    for name, kind in vars(errors).items():
        if isinstance(kind, type) and issubclass(kind, EnsembleError):
            assert name in errors.__doc__


def test_errors_cross_process_borders() -> None:
    error = LearnerError("broke", where="fold 1", hint="try again")
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes
    assert (type(copy), str(copy)) == (LearnerError, str(error))


def test_nearest_names_the_near_one_and_lists_all() -> None:
    assert nearest("lenght", ["markdown", "length"]) == (
        'did you mean "length"? There are: length, markdown'
    )
    assert nearest("zzz", ["a"]) == "There are: a"
    assert nearest("zzz", []) == "There are none"


def test_unknown_name() -> None:
    with pytest.raises(errors.UnknownNameError, match='unknown learner "tfdif"(.|\n)*"tfidf"'):
        raise unknown_name("learner", "tfdif", ["tfidf"])
