"""Which pretrained weights a model stands on: where they lie, and what is in every file of them.

A hub id is resolved to the commit that its branch has in the cache of this machine, and everything
is loaded from that one directory: nothing comes from a later commit, nor from a pull request, where
transformers looks for safetensors that the branch lacks. Content names them, not their place.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ensemble.errors import LearnerError
from ensemble.storage.hashing import fingerprint, hash_file
from ensemble_plugins.language_model.model.loading_errors import unavailable

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ensemble_plugins.language_model.settings import ModelSettings

CONFIG, ADAPTERS = "config.json", "adapter_config.json"
CHATS = "additional_chat_templates"
SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
"""What transformers loads: the one file, or the shards that the index names."""
TOKENIZER = (
    *("*token*", "vocab*", "*vocab.*", "merges*", "*.model", "*.spm", "*.codes", "*.tiktoken"),
    *("tekken.json", "normalizer.json", "dict.txt", "chat_template*", "*.jinja"),
    f"{CHATS}/*.jinja",
)
"""Patterns of the files that tokenizers are read from."""
_WEIGHT_ENDINGS = (".safetensors", ".bin", ".pt", ".md")


EXPORTED = "ensemble.json"
"""What lies beside a model that a run has exported."""


class Base(NamedTuple):
    """Pretrained weights on this machine.

    Parameters
    ----------
    directory
        Where all files are loaded from.
    revision
        The commit, of a hub id; None of a directory.
    """

    directory: Path
    revision: str | None


def find_base(settings: ModelSettings) -> Base:
    """Find the directory of a model, fetching it where it is not there and may be fetched.

    Raises
    ------
    LearnerError
        It cannot be had; it holds adapters in place of a model; it is a pull request's; or it was
        exported from a run.
    """
    directory = Path(settings.model)
    if directory.is_dir():
        base = Base(directory, None)
    else:
        snapshot = _snapshot(settings)
        base = Base(snapshot, snapshot.name)
    if (base.directory / ADAPTERS).exists():
        raise LearnerError(
            f"{ADAPTERS} says that these are adapters, which stand on the weights of another model",
            where=str(base.directory),
            hint="merge them into that model and save it whole, or give that model",
        )
    if (base.directory / EXPORTED).exists():
        raise LearnerError(
            f"{EXPORTED} says that the model was exported from a run: it has learned battles, and "
            "what it says of those is not out of fold, which no fold of another run would show",
            where=str(base.directory),
            hint="give the model that it was trained from (`about.base` there); only if no battle "
            f"of this run, or its like, was in that one, remove {EXPORTED}",
        )
    return base


def identity(settings: ModelSettings) -> dict[str, str]:
    """Name the base weights: where they are from, which commit, and the hash of their content.

    Returns
    -------
    dict of str
        ``model``, of a hub id ``revision``, ``sha256`` of config and weights, and
        ``tokenizer_sha256``.

    Raises
    ------
    LearnerError
        They are not on this machine, or there are none.
    """
    directory, revision = find_base(settings)
    return {
        "model": settings.model,
        **({"revision": revision} if revision else {}),
        "sha256": directory_fingerprint(directory),
        "tokenizer_sha256": tokenizer_fingerprint(directory),
    }


def directory_fingerprint(directory: Path) -> str:
    """Name config and weights of a directory by content: 64 hex digits.

    Raises
    ------
    LearnerError
        There are no weights that could be loaded.
    """
    return _hashes([directory / CONFIG, *weight_files(directory)])


def tokenizer_fingerprint(directory: Path) -> str:
    """Name a directory's tokenizer by the content of all files that it may be read from."""
    return _hashes(_tokenizer_files(directory))


def _tokenizer_files(directory: Path) -> list[Path]:
    found = {path for pattern in TOKENIZER for path in directory.glob(pattern)}
    return [path for path in found if path.is_file() and path.suffix not in _WEIGHT_ENDINGS]


def weight_files(directory: Path) -> list[Path]:
    """List the files of weights that transformers loads from a directory, the index too.

    Raises
    ------
    LearnerError
        There are none, or shards are missing.
    """
    told = read_config(directory).get("transformers_weights")
    names = [told] if isinstance(told, str) else [SINGLE, INDEX]
    there = [directory / name for name in names if (directory / name).is_file()]
    if not there:
        raise LearnerError(
            f"the model cannot be loaded: there is no file named {' or '.join(names)}",
            where=str(directory),
            hint=_weights_hint(directory),
        )
    if not there[0].name.endswith(".index.json"):
        return there[:1]
    places = _read_json(there[0]).get("weight_map", {})
    shards = [directory / name for name in sorted(set(places.values()))]
    if missing := [shard.name for shard in shards if not shard.is_file()]:
        raise LearnerError(
            f"the model cannot be loaded: {len(missing)} of {len(shards)} shards are missing: "
            + ", ".join(missing[:3]),
            where=str(directory),
            hint="fetch the model again, or copy all of its directory",
        )
    return [there[0], *shards]


def read_config(directory: Path) -> dict[str, Any]:
    """Read a model's config as it is stored; empty where there is none.

    Raises
    ------
    LearnerError
        It cannot be read.
    """
    return _read_json(directory / CONFIG)


def _weights_hint(directory: Path) -> str:
    if any(directory.glob("*.bin")) or any(directory.glob("*.pt")):
        return "convert the weights to safetensors: pickled weights are never loaded"
    return "give a hub id with its revision, or a directory with config, tokenizer and safetensors"


def _read_json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        found = {}
    except (OSError, ValueError) as error:
        raise LearnerError(f"the model cannot be loaded: {error}", where=str(path)) from error
    return found if isinstance(found, dict) else {}


def _hashes(files: Iterable[Path]) -> str:
    # A file is read once a process: `hash_file` knows those that have not changed.
    return fingerprint({_name_of(file): hash_file(file) for file in files if file.exists()})


def _name_of(file: Path) -> str:
    """Name a file below its model's directory."""
    return f"{CHATS}/{file.name}" if file.parent.name == CHATS else file.name


def _snapshot(settings: ModelSettings) -> Path:
    """Find the directory of a hub id's commit; what the cache has is taken before what is new."""
    revision = settings.revision or "main"
    if revision.startswith("refs/pr/"):
        raise LearnerError(
            f"{revision} is a pull request, which anybody may have made",
            where=settings.model,
            hint="give a commit, a branch or a tag of the model's own",
        )
    try:
        cached = _download(settings.model, revision, offline=True)
        weight_files(cached)
        if not _is_offline() and not _tokenizer_files(cached):
            raise FileNotFoundError("the cache has weights without a tokenizer")
    except LearnerError:
        if _is_offline():
            raise
    except Exception as error:
        if _is_offline():
            raise unavailable(settings, error) from error
    else:
        return cached
    try:
        return _download(settings.model, revision, offline=False)
    except Exception as error:
        raise unavailable(settings, error) from error


def _download(model: str, revision: str, *, offline: bool) -> Path:
    from huggingface_hub import snapshot_download

    patterns: Sequence[str] = [CONFIG, "model*.safetensors", INDEX, *TOKENIZER]
    place = snapshot_download(
        model, revision=revision, allow_patterns=list(patterns), local_files_only=offline
    )
    return Path(place)


def _is_offline() -> bool:
    from huggingface_hub import is_offline_mode

    return bool(is_offline_mode())
