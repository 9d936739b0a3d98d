from __future__ import annotations

import importlib
import json
import shutil
from typing import TYPE_CHECKING, Any

import pytest

from ensemble import errors

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("peft")
adapters = importlib.import_module("ensemble_plugins.language_model.model.adapters")
hashing = importlib.import_module("ensemble.storage.hashing")
base_weights = importlib.import_module("ensemble_plugins.language_model.model.base_weights")
huggingface_hub = importlib.import_module("huggingface_hub")
loading = importlib.import_module("ensemble_plugins.language_model.model.loading")
safetensors = importlib.import_module("safetensors.torch")
settings = importlib.import_module("ensemble_plugins.language_model.settings")
weights = importlib.import_module("ensemble_plugins.language_model.model.weights")
tiny = importlib.import_module("tests.plugins.language_model.tiny_models")

FILE = "model.safetensors"
INDEX = "model.safetensors.index.json"
MAIN, ASKED = "0123456789abcdef0123456789abcdef01234567", "f" * 40
UP = "layers.1.mlp.up_proj.weight"


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    directory: Path = tiny.save_checkpoint("llama3", tmp_path / "llama")
    return directory


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give the place of ``some/model`` in a cache of the hub, without a commit."""
    place = tmp_path / "cache" / "models--some--model"
    for name in ("refs/refs/pr", "snapshots"):
        (place / name).mkdir(parents=True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    return place


def of(source: Path | str, **options: Any) -> Any:
    return settings.ModelSettings(str(source), **options)


def digest(source: Path | str, **options: Any) -> str:
    found: str = base_weights.identity(of(source, **options))["sha256"]
    return found


def commit(cache: Path, name: str, checkpoint: Path, ref: str) -> Path:
    (cache / "refs" / ref).write_text(name)
    place = cache / "snapshots" / name
    shutil.copytree(checkpoint, place)
    return place


def change_json(file: Path, **values: Any) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


def one_bit(file: Path) -> None:
    raw = bytearray(file.read_bytes())
    raw[-1] ^= 1
    file.write_bytes(raw)


def shard(directory: Path) -> None:
    """Divide the weights of a directory among two files and an index."""
    tensors = safetensors.load_file(directory / FILE)
    names = [f"model-0000{number}-of-00002.safetensors" for number in (1, 2)]
    places = {name: names[number % 2] for number, name in enumerate(tensors)}
    for file in names:
        part = {name: tensors[name] for name in tensors if places[name] == file}
        safetensors.save_file(part, directory / file, metadata={"format": "pt"})
    (directory / FILE).unlink()
    (directory / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": places}))


def test_content_counts_and_no_place(checkpoint: Path, tmp_path: Path) -> None:
    first = base_weights.identity(of(checkpoint))
    assert first.keys() == {"model", "sha256", "tokenizer_sha256"}
    assert first["model"] == str(checkpoint)
    assert len(first["sha256"]) == len(first["tokenizer_sha256"]) == 64
    moved = base_weights.identity(of(checkpoint.rename(tmp_path / "moved")))
    assert moved == first | {"model": str(tmp_path / "moved")}
    for stranger in ("README.md", "pytorch_model.bin", "other.safetensors"):
        (tmp_path / "moved" / stranger).write_text("is not loaded")
    assert base_weights.identity(of(tmp_path / "moved")) == moved


CHANGES: dict[str, Callable[[Path], Any]] = {
    "one bit": lambda d: one_bit(d / FILE),
    "config": lambda d: change_json(d / "config.json", rms_norm_eps=0.5),
    "shards": shard,
}


@pytest.mark.parametrize("change", CHANGES)
def test_the_hash_changes_with_the_weights(change: str, checkpoint: Path) -> None:
    first = base_weights.identity(of(checkpoint))
    CHANGES[change](checkpoint)
    then = base_weights.identity(of(checkpoint))
    assert then["sha256"] != first["sha256"]
    assert then["tokenizer_sha256"] == first["tokenizer_sha256"]


TOKENIZER_FILES = [
    *("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"),
    *("spm.model", "spiece.model", "tokenizer.model", "sentencepiece.bpe.model", "vocab.json"),
    *("vocab.txt", "merges.txt", "bpe.codes", "chat_template.jinja", "chat_template.json"),
    *("source.spm", "qwen.tiktoken", "tekken.json", "entity_vocab.json"),
]


@pytest.mark.parametrize("name", TOKENIZER_FILES)
def test_every_file_of_a_tokenizer_counts(name: str, checkpoint: Path) -> None:
    first = base_weights.identity(of(checkpoint))
    with (checkpoint / name).open("a") as file:
        file.write(" ")
    then = base_weights.identity(of(checkpoint))
    assert then["tokenizer_sha256"] != first["tokenizer_sha256"]
    assert then["sha256"] == first["sha256"]


@pytest.mark.parametrize("number", [0, 1])
def test_every_shard_counts_and_none_may_be_missing(number: int, checkpoint: Path) -> None:
    wanted = safetensors.load_file(checkpoint / FILE)
    shard(checkpoint)
    first, file = digest(checkpoint), sorted(checkpoint.glob("model-*"))[number]
    loaded, *_ = weights.load_model(of(checkpoint), weights.load_config(of(checkpoint)))
    assert torch.equal(loaded.model.layers[1].mlp.up_proj.weight, wanted[UP])
    one_bit(file)
    assert digest(checkpoint) != first
    file.unlink()
    with pytest.raises(errors.LearnerError, match=f"1 of 2 shards are missing: {file.name}"):
        digest(checkpoint)


def test_a_directory_without_weights_is_refused(checkpoint: Path) -> None:
    (checkpoint / FILE).unlink()
    match = f"there is no file named {FILE} or {INDEX}"
    for ask in (base_weights.identity, loading.load_classifier):
        options = {"device": torch.device("cpu")} if ask is loading.load_classifier else {}
        with pytest.raises(errors.LearnerError, match=match) as error:
            ask(of(checkpoint), **options)
        assert error.value.where == str(checkpoint)


def test_adapters_are_no_model(checkpoint: Path) -> None:
    (checkpoint / "adapter_config.json").write_text(
        json.dumps({"base_model_name_or_path": "some/other"})
    )
    with pytest.raises(
        errors.LearnerError, match="these are adapters, which stand on .* another model"
    ):
        weights.load_config(of(checkpoint))


def test_a_hub_id_is_its_commit(checkpoint: Path, cache: Path) -> None:
    place = commit(cache, MAIN, checkpoint, "main")
    found = base_weights.identity(of("some/model"))
    assert (found["model"], found["revision"]) == ("some/model", MAIN)
    assert found == base_weights.identity(of("some/model", revision=MAIN))
    assert found["sha256"] == digest(place) == digest(checkpoint)
    assert weights.load_config(of("some/model")).num_labels == 3
    one_bit(place / FILE)
    assert digest("some/model") != found["sha256"]


def test_no_weights_of_a_pull_request_are_taken(checkpoint: Path, cache: Path) -> None:
    """As the hub's bot offers them, where the branch has pickled weights alone."""
    commit(cache, ASKED, checkpoint, "refs/pr/1")
    place = commit(cache, MAIN, checkpoint, "main")
    (place / FILE).rename(place / "pytorch_model.bin")
    for ask in (base_weights.identity, weights.load_config, weights.load_tokenizer):
        with pytest.raises(errors.LearnerError, match=f"there is no file named {FILE}") as error:
            ask(of("some/model"))
        assert "pickled weights are never loaded" in str(error.value.hint)
    with pytest.raises(errors.LearnerError, match="refs/pr/1 is a pull request"):
        digest("some/model", revision="refs/pr/1")


def test_only_a_pull_request_in_the_cache_is_nothing(checkpoint: Path, cache: Path) -> None:
    commit(cache, ASKED, checkpoint, "refs/pr/1")
    with pytest.raises(errors.LearnerError, match="the model cannot be loaded"):
        digest("some/model")


def test_what_the_cache_lacks_is_fetched(
    checkpoint: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = commit(cache, MAIN, checkpoint, "main")
    whole, asked = digest("some/model"), []
    (place / FILE).rename(place.parent / FILE)
    cached = huggingface_hub.snapshot_download

    def fetch(name: str, **options: Any) -> str:
        if options["local_files_only"]:
            return str(cached(name, **options))
        asked.append(options["revision"])
        (place.parent / FILE).rename(place / FILE)
        return str(place)

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", fetch)
    assert [digest("some/model"), digest("some/model")] == [whole, whole]
    assert asked == ["main"], "what is there is not asked for again"


@pytest.mark.parametrize(
    ("name", "what"), [(FILE, "base weights are"), ("tokenizer_config.json", "tokenizer is")]
)
def test_a_trained_model_takes_no_other_base(
    name: str, what: str, checkpoint: Path, tmp_path: Path
) -> None:
    made = loading.load_classifier(of(checkpoint, rank=4), device=torch.device("cpu"))
    stored = tmp_path / "stored"
    stored.mkdir()
    adapters.write_state(made, adapters.trained_state(made), stored)
    again = of(checkpoint.rename(tmp_path / "moved"), rank=4)
    adapters.read_state(loading.load_classifier(again, device=torch.device("cpu")), stored)
    if name == FILE:
        one_bit(tmp_path / "moved" / name)
    else:
        change_json(tmp_path / "moved" / name, model_max_length=7)
    with pytest.raises(errors.ArtifactError, match=f"the {what} not what was trained on"):
        adapters.read_state(loading.load_classifier(again, device=torch.device("cpu")), stored)


def test_what_is_stored_names_the_weights_that_were_loaded(
    checkpoint: Path, tmp_path: Path
) -> None:
    made = loading.load_classifier(of(checkpoint, rank=4), device=torch.device("cpu"))
    first = digest(checkpoint)
    one_bit(checkpoint / FILE)
    adapters.write_state(made, adapters.trained_state(made), tmp_path)
    assert json.loads((tmp_path / adapters.BASE).read_text())["sha256"] == first


def test_weights_replaced_while_they_are_loaded_are_refused(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load = loading.load_model

    def replace(*args: Any, **options: Any) -> Any:
        made = load(*args, **options)
        one_bit(checkpoint / FILE)
        return made

    monkeypatch.setattr(loading, "load_model", replace)
    with pytest.raises(errors.LearnerError, match="were replaced while they were loaded"):
        loading.load_classifier(of(checkpoint), device=torch.device("cpu"))


def test_a_file_is_read_once_a_process(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hashing, "_SETTLED", -(10**12))  # believed at once
    first, read = digest(checkpoint), []
    monkeypatch.setattr(hashing.hashlib, "sha256", lambda *_: read.append(1))
    assert base_weights.hash_file(checkpoint / FILE)
    assert not read
    monkeypatch.undo()
    assert digest(checkpoint) == first
