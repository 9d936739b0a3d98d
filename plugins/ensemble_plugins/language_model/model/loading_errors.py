"""What went wrong where a model cannot be loaded, and how to fix it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ensemble.errors import LearnerError

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

    from ensemble_plugins.language_model.settings import ModelSettings


_PACKAGES = {
    "aqlm": "'aqlm[gpu,cpu]'",
    "auto-round": "auto-round",
    "awq": "gptqmodel",
    "bitsandbytes": "bitsandbytes",
    "compressed-tensors": "compressed-tensors",
    "eetq": "kernels",
    "fbgemm_fp8": "fbgemm-gpu",
    "fp8": "kernels",
    "gptq": "optimum gptqmodel",
    "higgs": "flute-kernel fast-hadamard-transform",
    "hqq": "hqq",
    "mxfp4": "kernels triton",
    "quanto": "optimum-quanto",
    "quark": "amd-quark",
    "spqr": "'spqr_quant[gpu]'",
    "torchao": "torchao",
    "vptq": "vptq",
}
"""What reads weights that are stored quantized, by the ``quant_method`` of their config."""


def unavailable(
    settings: ModelSettings, error: Exception, quantized_by: str | None = None
) -> LearnerError:
    """Say why a model cannot be loaded.

    Parameters
    ----------
    settings
        Which one.
    error
        What came of it.
    quantized_by
        The method by which its weights are stored quantized; None where they are not.
    """
    chain = _chain(error)
    lacking = any(isinstance(each, ImportError) for each in chain)
    if quantized_by:
        hint = _quantized_hint(quantized_by, lacking=lacking)
    elif lacking and settings.bits < 16:
        hint = "in a clone of the repository: pip install -c constraints.txt '.[lm,quantized]'"
    else:
        hint = _hint({type(each).__name__ for each in chain}, str(error))
    return LearnerError(
        f"the model cannot be loaded: {_said(error)}",
        where=settings.model + (f", revision {settings.revision}" if settings.revision else ""),
        hint=hint,
    )


def _quantized_hint(method: str, *, lacking: bool) -> str:
    install = f"pip install {_PACKAGES[method]}, or " if lacking and method in _PACKAGES else ""
    return (
        f"its weights are stored quantized ({method}): {install}give the full weights, which "
        "bits = 4 or 8 quantizes as they are loaded"
    )


def unbuildable(config: PreTrainedConfig, error: Exception) -> LearnerError:
    """Say why no classifier can be built from a config."""
    text = str(error)
    return LearnerError(
        f"no sequence classifier can be built from the model's config: {_said(error)}",
        where=config.name_or_path or None,
        hint=_NO_CLASSIFIER if _UNKNOWN in text else _MEND,
    )


def uncomputable(model: PreTrainedModel, error: Exception, where: str) -> LearnerError:
    """Say why a model that was loaded computes no row."""
    return LearnerError(
        f"{type(model).__name__} cannot compute a row of tokens: {_said(error)}",
        where=where,
        hint="mend its config.json (token ids, sizes of its vocabularies), or use another model",
    )


def _said(error: Exception) -> str:
    """Give the kind of an error and its first line; the next as well, where that one ends so."""
    lines = str(error).strip().splitlines() or [""]
    first = " ".join(map(str.strip, lines[: 2 if lines[0].endswith(":") else 1]))
    return f"{type(error).__name__}: {first}"


def _chain(error: BaseException | None) -> list[BaseException]:
    found: list[BaseException] = []
    while error is not None and error not in found:
        found.append(error)
        error = error.__cause__ or error.__context__
    return found


_UNKNOWN = "Unrecognized configuration class"
_NO_CLASSIFIER = "transformers has no sequence classifier of this architecture: use another model"
_MEND = "mend its config.json, or give a checkpoint that transformers loads"
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
    if _UNKNOWN in text:
        return _NO_CLASSIFIER
    if "does not recognize this architecture" in text or "Unrecognized model" in text:
        return (
            "see to model_type in its config.json, install a newer transformers, or use another "
            "model"
        )
    if any(name.startswith("StrictDataclass") for name in names):
        return _MEND
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
