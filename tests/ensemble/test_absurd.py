"""What no config, file or number should be: an error, and neither a hang nor a traceback."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ensemble import errors, run
from ensemble.battles.loading import load_battles
from ensemble.config.load import load_config
from ensemble.storage.hashing import hash_file, hash_tree
from ensemble.submission.parse import read_submission
from ensemble.submission.reading import read_test_ids
from tests.ensemble.config.minimal import MINIMAL, load_text

if TYPE_CHECKING:
    from tests.fixture_types import Project


@pytest.mark.parametrize(
    ("addition", "match"),
    [
        (f"[stack.parameters]\n{'.'.join('a' * 500)} = 1\n", "nested more than 32 deep"),
        (f"[stack.parameters]\na = {'[' * 200}{']' * 200}\n", "nested more than 32 deep"),
        (f"a = {'[' * 20000}{']' * 20000}\n", "cannot be read|nested more than"),
        ("[execution]\nthreads = 1000000000\n", r"execution.threads: .*less than or equal to 1024"),
        ("[execution]\nworkers = 1000000000\n", r"execution.workers: .*less than or equal to 1024"),
        ("[execution]\nthreads = -1\n", "execution.threads: .*greater than or equal to 0"),
        ("[folds]\nn_splits = 1000000000\n", "folds.n_splits: .*less than or equal to 100"),
        ("[folds]\nn_splits = -3\n", "folds.n_splits"),
        ("[folds]\nnear_duplicate_threshold = nan\n", "folds.near_duplicate_threshold"),
        (
            "[stack]\nresamples = 1000000000000\n",
            "resamples: .*less than or equal to 1000000",
        ),
        ("[stack]\nresamples = inf\n", "stack.resamples"),
        ('[[learners]]\nname="a"\nplugin="b"\nseeds = 1000000000\n', "less than or equal to 100"),
        (f"[[learners]]\nname='a'\nplugin='b'\nx = {2**64}\n", "x is a number beyond 64 bits"),
        (f"[execution]\nthreads = {'9' * 400}\n", "execution.threads"),
        (f"[execution]\nthreads = {'9' * 5000}\n", "cannot be read"),
        (f"[[learners]]\nname = '{'n' * 10**6}'\nplugin='b'\n", "at most 100, the first"),
        (f"[test]\npath = '{'p' * 10**5}'\n", "is no path: File name too long"),
        ("seed = 99999999999\n", "seed: input should be less than"),
    ],
)
def test_absurd_values_are_told_shortly(addition: str, match: str, tmp_path: Path) -> None:
    text = MINIMAL + addition if addition.startswith("[") else addition + MINIMAL
    with pytest.raises(errors.ConfigError, match=match) as error:
        load_text(tmp_path, text)
    assert len(str(error.value)) < 3_000


@pytest.mark.parametrize("weight", ["inf", "nan", "1e300", "0.0"])
def test_weights_that_no_training_stands(weight: str, tmp_path: Path) -> None:
    other = f'[[sources]]\nname = "b"\npath = "x"\nrole = "train"\nweight = {weight}\n'
    with pytest.raises(errors.ConfigError, match=r"sources\[2\].weight"):
        load_text(tmp_path, MINIMAL + other)


def _endless(kind: str, tmp_path: Path) -> Path:
    if kind == "fifo":
        path = tmp_path / "pipe.csv"
        os.mkfifo(path)
        return path
    if kind == "link":
        path = tmp_path / "link.csv"
        path.symlink_to("/dev/zero")
        return path
    return Path(kind)


KINDS = ["/dev/zero", "/dev/random", "fifo", "link"]


@pytest.mark.parametrize("kind", KINDS)
def test_what_never_ends_is_no_file(kind: str, tmp_path: Path) -> None:
    path = _endless(kind, tmp_path)
    with pytest.raises(errors.DataError, match="a device or a pipe, and no file"):
        load_battles(path, source="s", role="target")
    with pytest.raises(errors.DataError, match="a device or a pipe, and no file"):
        read_test_ids(path)
    with pytest.raises(errors.DataError, match="a device or a pipe, and no file"):
        read_submission(path)
    with pytest.raises(errors.ConfigError, match="a device or a pipe, and no file"):
        load_config(path)
    for digest in (hash_file, hash_tree):
        with pytest.raises(OSError, match="a device or a pipe, and no file"):
            digest(path)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("place", ["source", "test", "embeddings", "oof"])
def test_a_config_that_names_what_never_ends(
    kind: str, place: str, project: Project, tmp_path: Path
) -> None:
    path = str(_endless(kind, tmp_path))
    asked: dict[str, dict[str, Any]] = {
        "source": {"sources": [{"name": "a", "path": path, "role": "target"}]},
        "test": {"test": {"path": path}},
        "embeddings": {"folds": {"n_splits": 3, "embeddings": path}},
        "oof": {"learners": [{"name": "o", "plugin": "precomputed", "oof": path}]},
    }
    with pytest.raises(
        (errors.ConfigError, errors.DataError), match="a device or a pipe, and no file"
    ):
        run(project.config(**asked[place]))


def _command(*arguments: str | bytes | Path, cwd: bytes | None = None) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", "ensemble", *arguments], cwd=cwd, capture_output=True, check=False
    )
    return done.returncode, done.stderr.decode(errors="backslashreplace")


@pytest.mark.slow
def test_a_directory_whose_name_is_not_utf_8(project: Project) -> None:
    project.config()
    strange = os.fsencode(project.path) + b"/caf\xe9"
    os.mkdir(strange)  # noqa: PTH102 - bytes
    for name in ("config.toml", "train.csv", "extra.csv", "test.csv"):
        os.link(project.path / name, strange + b"/" + name.encode())
    for arguments in (
        ("run", "config.toml"),
        ("run", strange + b"/config.toml"),
        ("demo", "--directory", strange + b"/new"),
        ("predict", "config.toml", "--test", "test.csv", "--output", "out.csv"),
    ):
        code, err = _command(*arguments, cwd=strange)
        assert (code, "Traceback" in err) == (2, False), err
        assert "not UTF-8" in err
    there = {path.name for path in Path(os.fsdecode(strange)).iterdir()}
    assert there == {"config.toml", "train.csv", "extra.csv", "test.csv"}


def test_too_little_memory_is_told() -> None:
    program = (
        "import ensemble.cli as c\n"
        "def fail(**_): raise MemoryError('Unable to allocate 9 EiB')\n"
        "c.cli = fail\n"
        "c.main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr.startswith("error: there is not enough memory: Unable to allocate 9 EiB")
    assert "Traceback" not in done.stderr
