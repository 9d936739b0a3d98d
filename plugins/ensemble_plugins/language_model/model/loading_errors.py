"""What went wrong where a model cannot be loaded, and how to fix it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ensemble.errors import LearnerError

if TYPE_CHECKING:
    from ensemble_plugins.language_model.settings import ModelSettings


def unavailable(settings: ModelSettings, error: Exception) -> LearnerError:
    """Say why a model cannot be loaded."""
    names = {type(each).__name__ for each in _chain(error)}
    first = str(error).strip().split("\n", 1)[0]
    return LearnerError(
        f"the model cannot be loaded: {type(error).__name__}: {first}",
        where=settings.model + (f", revision {settings.revision}" if settings.revision else ""),
        hint=_hint(names, str(error)),
    )


def _chain(error: BaseException | None) -> list[BaseException]:
    found: list[BaseException] = []
    while error is not None and error not in found:
        found.append(error)
        error = error.__cause__ or error.__context__
    return found


_MOVED = (
    "Where weights were moved, say so in `model` of the config, of a run in its config.toml: the "
    "same files are taken wherever they lie, and nothing is fitted anew"
)
_NOT_CACHED = (
    "it is not in the cache and nothing may be fetched: fetch it first, or give a directory. "
    + _MOVED
)


def _hint(names: set[str], text: str) -> str:
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
    if "Unrecognized configuration class" in text:
        return "transformers has no sequence classifier of this architecture: use another model"
    if "does not appear to have a file" in text and is_offline_mode():
        return _NOT_CACHED
    if "safetensors" in text:
        return "convert the weights to safetensors: pickled weights are never loaded"
    if "RepositoryNotFoundError" in names or "not a local folder" in text or "Repo id must" in text:
        return (
            "fix the name: a hub id like google/gemma-2-9b-it, or the path of a directory. "
            + _MOVED
        )
    return "give a hub id with its revision, or a directory with config, tokenizer and safetensors"
