from __future__ import annotations

from pathlib import Path

import pytest

from ensemble import errors
from ensemble.config.load import load_config, load_run_config, write_config
from ensemble.config.source_settings import SourceSettings
from tests.ensemble.config.minimal import MINIMAL, load_text


def test_defaults_and_anchored_paths(tmp_path: Path) -> None:
    config = load_text(tmp_path, MINIMAL)
    assert config.run_dir == str(tmp_path / "run")
    assert config.sources[0].path == str(tmp_path / "train.csv")
    assert (config.folds.n_splits, config.folds.near_duplicate_threshold) == (5, 0.8)
    assert (config.stack.meta_learner, config.stack.choose) == ("lightgbm", "auto")
    assert config.stack.nesting == "auto"


def test_learner_parameters_are_gathered(tmp_path: Path) -> None:
    config = load_text(
        tmp_path, MINIMAL + '[[learners]]\nname = "x"\nplugin = "handcrafted"\nnum_leaves = 7\n'
    )
    assert config.learners[0].parameters == {"num_leaves": 7}


SOURCE = '[[sources]]\nname = "b"\npath = "x"\nrole = "{}"\n{}\n'
LEARNER = '[[learners]]\nname = "one"\nplugin = "p"\n'


@pytest.mark.parametrize(
    ("addition", "message"),
    [
        ("[folds]\nn_split = 3\n", 'unknown key folds.n_split: did you mean "n_splits"'),
        ("[stakc]\n", 'unknown key stakc: did you mean "stack"'),
        ('[folds]\nn_splits = "three"\n', "folds.n_splits: input should be a valid integer"),
        ("[folds]\nn_splits = 1\n", "folds.n_splits: input should be greater than or equal to 2"),
        ('[[learners]]\nname = "../x"\nplugin = "p"\n', r"learners\[1\].name: should be letters"),
        (
            '[[learners]]\nname = "a/b"\nplugin = "p"\n',
            r"be letters, digits, \. _ -, at most 100, the first a letter or a digit",
        ),
        (
            '[stack]\nnesting = "exact"\n',
            "stack.nesting: input should be 'auto', 'full' or 'plain'",
        ),
        ('[execution]\ndevice = "gpu"\n', "device: should be auto, cpu, cuda or cuda:N, got 'gpu'"),
        ('[execution]\ndevice = "cuda:x"\n', "execution.device: should be auto"),
        ('[execution]\ndevice = "cuda:"\n', "execution.device: should be auto"),
        ('[[learners]]\nname = "a"\nplugin = "p"\n' * 2, 'two learners are called "a"'),
        ('[[learners]]\nname = "a"\n', r"missing key learners\[1\].plugin"),
        ('[[sources]]\nname = "arena"\npath = "x"\nrole = "train"\n', "two sources are called"),
        (
            '[[sources]]\nname = "Arena"\npath = "x"\nrole = "train"\n',
            'sources "Arena" and "arena" differ in case alone',
        ),
        ('[[learners]]\nname = "NUL"\nplugin = "p"\n', 'no learner may be called "NUL"'),
        ('[[learners]]\nname = "con.x"\nplugin = "p"\n', "Windows has no file of that name"),
        ('[[learners]]\nname = "a."\nplugin = "p"\n', "Windows has no file of that name"),
        ("[" + "a." * 50_000 + "a]\n", "nested more than 32 deep"),
        ('[[sources]]\nname = "test"\npath = "x"\nrole = "train"\n', "no source may be called"),
        (
            '[[sources]]\nname = "b"\npath = "x"\nrole = "trian"\n',
            r"\[2\].role: input should",
        ),
        ('[[sources]]\nname = "b"\npath = "x"\nrole = "train"\nweight = -1.0\n', "greater than 0"),
        (
            SOURCE.format("train", "share = 0.0"),
            r"sources\[2\].share: input should be greater than 0",
        ),
        (
            SOURCE.format("train", "share = 1.5"),
            r"sources\[2\].share: input should be less than or",
        ),
        (
            SOURCE.format("train", 'reweight = "label"'),
            r"sources\[2\].reweight: input should be 'none'",
        ),
        (
            SOURCE.format("target", "share = 0.5"),
            r'sources\[2\].share makes no sense for role "target"',
        ),
        (
            SOURCE.format("target", "logit_adjustment = true"),
            r"\[2\].logit_adjustment makes no sense .*is validated",
        ),
        (SOURCE.format("ignore", 'reweight = "labels"'), r"\[2\].reweight makes .*reach nothing"),
        (
            SOURCE.format("train", 'logit_adjustment = true\nreweight = "labels"'),
            r"sources\[2\]: logit_adjustment = true and reweight = \"labels\" both make up",
        ),
        (
            SOURCE.format("train", 'pseudo_labelers = ["x"]'),
            r'\[2\].pseudo_labelers are for role "pseudo"',
        ),
        (SOURCE.format("pseudo", ""), r"sources\[2\].pseudo_labelers is missing"),
        (
            SOURCE.format("pseudo", 'pseudo_labelers = ["one", "onee", "one"]') + LEARNER,
            r'labelers names "one" twice(.|\n)*labelers names "onee": did you mean "one"',
        ),
        ('[stack]\nlearners = ["nobody"]\n', 'stack.learners names "nobody"'),
        ('[test]\npath = "t.csv"\non_bad_rows = "drop"\n', "unknown key test.on_bad_rows"),
        ("x = [", "the config cannot be read"),
        ("x = " + "[" * 5_000, "the config cannot be read"),
        ("[stack]\nlearners = []\n", "stack.learners is empty: leave it out"),
        (
            '[stack]\nlearners = ["a", "a"]\n[[learners]]\nname = "a"\nplugin = "p"\n',
            'stack.learners names "a" twice',
        ),
        (
            '[[learners]]\nname = "A"\nplugin = "p"\n[[learners]]\nname = "a"\nplugin = "p"\n',
            'learners "A" and "a" differ in case alone',
        ),
        (
            '[test]\npath = "t.csv"\n[test.options]\nsheet = "x"\n',
            "test.options are for a loader, and test.loader is missing",
        ),
        (
            '[test]\npath = "t"\nloader = "l"\n[test.options]\nspan = [{since = 2024-01-02}]\n',
            r"test.options.span\[1\].since is a date, 2024-01-02: write it as a string",
        ),
        (
            '[[learners]]\nname = "a"\nplugin = "p"\nuntil = 2024-01-02T03:04:05\n',
            r"learners\[1\].until is a datetime",
        ),
        ("[stack.parameters]\nat = 03:04:05\n", "stack.parameters.at is a time"),
        ("[stack.parameters]\nx = nan\n", "stack.parameters.x is nan: give a finite number"),
        ('[test]\npath = "a\\u0000b"\n', "'a.x00b' is no path: (lstat: )?embedded null"),
        ('[test]\npath = "~nosuch-user/x"\n', "'~nosuch-user/x' is no path"),
    ],
)
def test_faults(tmp_path: Path, addition: str, message: str) -> None:
    with pytest.raises(errors.ConfigError, match=message):
        load_text(tmp_path, MINIMAL + addition)


@pytest.mark.parametrize("device", ["auto", "cpu", "cuda", "cuda:0", "cuda:11"])
def test_devices(tmp_path: Path, device: str) -> None:
    config = load_text(tmp_path, MINIMAL + f'[execution]\ndevice = "{device}"\n')
    assert config.execution.device == device


def test_a_tilde_is_the_users_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    config = load_text(tmp_path, MINIMAL.replace('"run"', '"~/run"'))
    assert config.run_dir == str(tmp_path / "home" / "run")


@pytest.mark.parametrize("run_dir", ["~nosuch-user/x", "a\\u0000b"])
def test_a_run_dir_that_is_no_path(tmp_path: Path, run_dir: str) -> None:
    with pytest.raises(errors.ConfigError, match="is no path"):
        load_text(tmp_path, MINIMAL.replace('"run"', f'"{run_dir}"'))


@pytest.mark.parametrize(
    ("run_dir", "names"),
    [
        (".", ["the config", r"sources\[1\].path", "test.path"]),
        ("..", ["the config", r"sources\[1\].path", "test.path"]),
        ("data/.", ["test.path"]),
        ("link", ["test.path"]),
        ("train.csv", [r"sources\[1\].path"]),
        ("config.toml", ["the config"]),
        ("train.csv/run", [r"sources\[1\].path"]),
    ],
)
def test_a_run_that_would_write_over_its_input_is_refused(
    tmp_path: Path, run_dir: str, names: list[str]
) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "data")
    text = MINIMAL.replace('"run"', f'"{run_dir}"') + '[test]\npath = "data/test.csv"\n'
    with pytest.raises(
        errors.ConfigError, match="(.|\n)*".join(f"where {name} lies" for name in names)
    ):
        load_text(tmp_path, text)


def test_a_directory_beside_the_input_is_no_fault(tmp_path: Path) -> None:
    text = MINIMAL.replace('"run"', '"train.csv-run"') + '[test]\npath = "data/test.csv"\n'
    assert load_text(tmp_path, text).run_dir == str(tmp_path / "train.csv-run")


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    """A run directory with the config that it keeps and what else tells that it is one."""
    config = load_text(tmp_path, MINIMAL)
    run = Path(config.run_dir)
    run.mkdir()
    write_config(config, run / "config.toml")
    for name in (".lock", "battles.json"):
        (run / name).touch()
    return run


def test_the_config_that_a_run_keeps_can_be_loaded(kept: Path) -> None:
    assert load_config(kept / "config.toml").run_dir == str(kept)


@pytest.mark.parametrize("missing", [".lock", "battles.json"])
def test_a_config_where_no_run_is_yet_is_refused(kept: Path, missing: str) -> None:
    (kept / missing).unlink()
    with pytest.raises(errors.ConfigError, match="where the config lies"):
        load_config(kept / "config.toml")


def test_the_files_of_a_run_are_no_source_of_it(kept: Path) -> None:
    text = (kept / "config.toml").read_text().replace("/train.csv", "/run/battles.parquet")
    (kept / "config.toml").write_text(text)
    with pytest.raises(errors.ConfigError, match=r"where sources\[1\].path lies"):
        load_config(kept / "config.toml")


def test_a_run_is_loaded_from_where_it_is_now(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = load_run_config(kept)
    assert before == load_config(kept / "config.toml")
    moved = kept.rename(kept.with_name("moved"))
    assert load_run_config(moved) == before.model_copy(update={"run_dir": str(moved)})
    monkeypatch.chdir(moved)
    assert load_run_config(Path()).run_dir == str(moved)


def test_a_directory_without_a_config_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(errors.ConfigError, match=r"this is not a run directory"):
        load_run_config(tmp_path)


def test_all_faults_are_reported_together(tmp_path: Path) -> None:
    with pytest.raises(errors.ConfigError, match=r"n_split(.|\n)*choos"):
        load_text(tmp_path, MINIMAL + '[folds]\nn_split = 3\n[stack]\nchoos = "mean"\n')


def test_no_target_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(errors.ConfigError, match='no source has role = "target"'):
        load_text(tmp_path, MINIMAL.replace('"target"', '"train"'))


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(errors.ConfigError, match="the config cannot be read"):
        load_config(tmp_path / "nothing.toml")


def test_a_resolved_config_reads_back_the_same(tmp_path: Path) -> None:
    text = (
        MINIMAL
        + '[test]\npath = "t.csv"\n[stack]\nmeta_learner = "none"\n'
        + '[[learners]]\nname = "x"\nplugin = "handcrafted"\nfeatures = ["length"]\n'
    )
    config = load_text(tmp_path, text)
    assert config.stack.meta_learner is None
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    write_config(config, elsewhere / "config.toml")
    assert load_config(elsewhere / "config.toml") == config


def test_the_use_of_a_source_is_what_the_config_says(tmp_path: Path) -> None:
    wanted = 'weight = 0.5\nshare = 0.25\nreweight = "importance"\nlogit_adjustment = true'
    text = MINIMAL + SOURCE.format("train", wanted)
    text += SOURCE.replace('"b"', '"c"').format("pseudo", 'pseudo_labelers = ["one"]') + LEARNER
    assert load_text(tmp_path, text).source_uses() == {
        "arena": SourceSettings("target"),
        "b": SourceSettings("train", 0.5, 0.25, "importance", logit_adjustment=True),
        "c": SourceSettings("pseudo", pseudo_labelers=("one",)),
    }


def test_an_unknown_learner_is_named(tmp_path: Path) -> None:
    config = load_text(tmp_path, MINIMAL + '[[learners]]\nname = "length"\nplugin = "p"\n')
    with pytest.raises(errors.ConfigError, match='no learner is called "lenght"(.|\n)*"length"'):
        config.learner("lenght")


def test_workers_share_the_cores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ensemble.config.settings.available_cores", lambda: 8)
    side_by_side = '[execution]\nexecutor = "processes"\nworkers = 3\n'
    assert load_text(tmp_path, MINIMAL).execution.threads_per_fit() == 8
    assert load_text(tmp_path, MINIMAL + side_by_side).execution.threads_per_fit() == 2
    assert (
        load_text(tmp_path, MINIMAL + side_by_side + "threads = 5\n").execution.threads_per_fit()
        == 5
    )
