"""Where pretrained weights come from: a directory or the hub, named by content, never unpickled."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ensemble.artifacts import fingerprint, hash_file
from ensemble.errors import LearnerError
from plugins.language_model.heads import find_head, is_head

if TYPE_CHECKING:
    from collections.abc import Iterator

    from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

    from plugins.language_model.settings import ModelSettings

N_CLASSES = 3
_WEIGHTS = "*.safetensors"


def load_tokenizer(settings: ModelSettings) -> PreTrainedTokenizerBase:
    """Load the tokenizer of a model.

    Raises
    ------
    LearnerError
        It cannot be had; says what to do.
    """
    from transformers import AutoTokenizer

    tokenizer: PreTrainedTokenizerBase = _from(AutoTokenizer, settings)
    return tokenizer


def load_config(settings: ModelSettings) -> PreTrainedConfig:
    """Load a model's config, for three classes.

    Raises
    ------
    LearnerError
        It cannot be had; says what to do.
    """
    from transformers import AutoConfig

    config: PreTrainedConfig = _from(AutoConfig, settings, num_labels=N_CLASSES)
    config.use_cache = False
    if not settings.soft_capping and getattr(config, "attn_logit_softcapping", None) is not None:
        config.attn_logit_softcapping = None
    return config


def load_model(
    settings: ModelSettings, config: PreTrainedConfig, **options: Any
) -> tuple[PreTrainedModel, tuple[str, ...]]:
    """Load a sequence classifier; its head is new, everything else must come from the weights.

    Parameters
    ----------
    settings
        Which one.
    config
        As ``load_config`` gives it.
    options
        Passed on to ``from_pretrained``: dtype, device map, quantization.

    Returns
    -------
    tuple
        The model, and the names of its head's modules.

    Raises
    ------
    LearnerError
        The weights cannot be had, are not safetensors, or are not those of such a model.
    """
    from transformers import AutoModelForSequenceClassification

    # Without safetensors transformers would unpickle.
    model: PreTrainedModel
    with _quiet():
        model, report = _from(
            AutoModelForSequenceClassification,
            settings,
            config=config,
            use_safetensors=True,
            ignore_mismatched_sizes=True,  # told below; a head for other classes is replaced
            output_loading_info=True,
            **options,
        )
    head = find_head(model, report["missing_keys"])
    misshapen = sorted(
        f"{key} has shape {tuple(found)}, not {tuple(wanted)}"
        for key, found, wanted in report["mismatched_keys"]
        if not is_head(key, head)
    )
    if misshapen:
        raise LearnerError(
            f"{len(misshapen)} tensors do not fit {type(model).__name__}: "
            + "; ".join(misshapen[:3]),
            where=settings.model,
            mend="give a checkpoint whose config and weights belong together",
        )
    missing = sorted(key for key in report["missing_keys"] if not is_head(key, head))
    if missing:
        raise LearnerError(
            f"the weights lack {len(missing)} tensors of {type(model).__name__}: "
            + ", ".join(missing[:5]),
            where=settings.model,
            mend="give a checkpoint of this architecture, complete and in safetensors",
        )
    return model, head


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep transformers from warning of the new head, and from drawing bars into files."""
    from transformers.utils import logging as told

    level, bars = told.get_verbosity(), told.is_progress_bar_enabled()
    told.set_verbosity_error()
    if not sys.stderr.isatty():
        told.disable_progress_bar()
    try:
        yield
    finally:
        told.set_verbosity(level)
        if bars:
            told.enable_progress_bar()


def identity(settings: ModelSettings) -> dict[str, str]:
    """Name the base weights: where they are from, which revision, and the hash of their content.

    Raises
    ------
    LearnerError
        They are not on this machine.
    """
    directory = Path(settings.model)
    if directory.is_dir():
        return {"model": settings.model, "sha256": directory_fingerprint(directory)}
    snapshot = _snapshot(settings)
    return {
        "model": settings.model,
        "revision": snapshot.name,
        "sha256": directory_fingerprint(snapshot),
    }


def directory_fingerprint(directory: Path) -> str:
    """Name a directory of weights by config and tensors: 64 hex digits."""
    files = sorted([*directory.glob(_WEIGHTS), *directory.glob("config.json")])
    return fingerprint({file.name: _hash(file, *_stamp(file)) for file in files})


def _stamp(file: Path) -> tuple[int, int]:
    status = file.stat()
    return status.st_size, status.st_mtime_ns


@cache
def _hash(file: Path, _size: int, _changed: int) -> str:
    """Hash a file once a process, however often it is asked for: base weights are gigabytes."""
    return hash_file(file)


def _snapshot(settings: ModelSettings) -> Path:
    from huggingface_hub import snapshot_download

    try:
        patterns = ["config.json", _WEIGHTS]
        return Path(
            snapshot_download(
                settings.model,
                revision=settings.revision,
                allow_patterns=patterns,
                local_files_only=True,
            )
        )
    except Exception as error:
        raise _unavailable(settings, error) from error


def _from(kind: Any, settings: ModelSettings, **options: Any) -> Any:
    try:
        return kind.from_pretrained(
            settings.model, revision=settings.revision, trust_remote_code=False, **options
        )
    except Exception as error:
        raise _unavailable(settings, error) from error


def _unavailable(settings: ModelSettings, error: Exception) -> LearnerError:
    names = {type(each).__name__ for each in _chain(error)}
    first = str(error).strip().split("\n", 1)[0]
    return LearnerError(
        f"the model cannot be loaded: {type(error).__name__}: {first}",
        where=settings.model + (f", revision {settings.revision}" if settings.revision else ""),
        mend=_mend(names, str(error)),
    )


def _chain(error: BaseException | None) -> list[BaseException]:
    found: list[BaseException] = []
    while error is not None and error not in found:
        found.append(error)
        error = error.__cause__ or error.__context__
    return found


_NOT_CACHED = (
    "it is not in the cache and nothing may be fetched: fetch it first, or give a directory"
)


def _mend(names: set[str], text: str) -> str:
    from huggingface_hub import is_offline_mode

    if "GatedRepoError" in names or "gated repo" in text:
        return (
            "the model is gated: accept its licence on its hub page, then `hf auth login`, or give "
            "the directory of a copy"
        )
    if names & {"OfflineModeIsEnabled", "LocalEntryNotFoundError"} or "offline" in text.lower():
        return _NOT_CACHED
    if "trust_remote_code" in text:
        return "models with code of their own are not run: use one that transformers itself knows"
    if "does not appear to have a file" in text and is_offline_mode():
        return _NOT_CACHED
    if "safetensors" in text:
        return "convert the weights to safetensors: pickled weights are never loaded"
    if "RepositoryNotFoundError" in names or "not a local folder" in text or "Repo id must" in text:
        return "mend the name: a hub id like google/gemma-2-9b-it, or the path of a directory"
    return "give a hub id with its revision, or a directory with config, tokenizer and safetensors"
