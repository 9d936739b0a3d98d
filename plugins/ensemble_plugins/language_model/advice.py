"""Whether a language model fits a machine, with which parameters, and how long it takes there.

Speed and memory were measured on one H100 or H200 at true size (``docs/benchmarks.md``); other
cards are compared by the dense 16-bit rates of their data sheets. Nothing heavy is imported.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ensemble.plugin.suggestion import Suggestion

if TYPE_CHECKING:
    from ensemble.plugin.suggestion import DataSummary, Gpu, Machine

_MEASURED_TOKENS = 900
"""Mean tokens of the rows that were measured."""
_USABLE = 0.92
"""Share of a card's memory that is counted on."""
_HOURS = 100.0
"""Rows a second from which CPU cores take hours, not days."""
_LEAST_CAPABILITY = (7, 0)
_BFLOAT16 = (8, 0)
_BUDGET = 8448
_CHECKPOINTED = 0.12
"""Share of the activations that is left where they are computed anew, roughly."""
_H100 = 989.0
_TEMPLATE_TOKENS = 64
_TFLOPS = {
    "B200": 2250.0,
    "GB200": 2250.0,
    "H200": 989.0,
    "GH200": 989.0,
    "H100": 989.0,
    "A100": 312.0,
    "L40S": 362.0,
    "L40": 181.0,
    "L4": 121.0,
    "A40": 150.0,
    "A30": 165.0,
    "A10": 125.0,
    "A10G": 70.0,
    "V100": 112.0,
    "5090": 210.0,
    "4090": 165.0,
    "3090": 71.0,
    "A6000": 155.0,
    "T4": 29.0,
}
"""TFLOP/s by a word of the name; that of the T4 as it gives it in practice, at its power limit."""


@dataclass(frozen=True)
class Measured:
    """What was measured of a model on one H100, or an H200, which is as fast.

    Parameters
    ----------
    train_rows, predict_rows
        Rows a second, one order of A and B.
    weights_gib
        Of the frozen weights in 16 bits; of a model that is trained whole, weights, gradients and
        the optimizer's state.
    train_gib
        Of training with packs of 8,448 tokens, without checkpointing.
    """

    train_rows: float
    predict_rows: float
    weights_gib: float
    train_gib: float

    @property
    def activations_gib(self) -> float:
        """What training takes beside the weights."""
        return self.train_gib - self.weights_gib


@dataclass(frozen=True)
class _Way:
    """One way to fit a model into memory.

    Parameters
    ----------
    bits
        Of the frozen weights.
    budget
        Tokens computed at once.
    checkpointed
        Whether activations are computed anew.
    slower
        Times as long as the fastest way.
    """

    bits: int
    budget: int
    checkpointed: bool
    slower: float

    def gib(self, measured: Measured) -> float:
        weights = measured.weights_gib * {16: 1.0, 8: 0.5, 4: 0.28}[self.bits]
        share = (_CHECKPOINTED if self.checkpointed else 1.0) * self.budget / _BUDGET
        room = 1.0 if self.checkpointed else 0.0
        return weights + room * (1 if self.bits == 16 else 2) + share * measured.activations_gib


_FROZEN = (
    _Way(16, _BUDGET, False, 1.0),
    _Way(16, _BUDGET, True, 1.5),
    _Way(8, 4224, True, 2.0),
    _Way(4, 2048, True, 2.0),
)
_WHOLE = (
    _Way(16, _BUDGET, False, 1.0),
    _Way(16, 2112, False, 1.1),
    _Way(16, 2112, True, 1.5),
)


def advise(
    learner: Any, measured: Measured, data: DataSummary, machine: Machine, **given: Any
) -> Suggestion:
    """Suggest a language model.

    Parameters
    ----------
    learner
        With the parameters that were measured.
    measured
        What is known of its model.
    data, machine
        As ``suggest`` has them.
    given
        Those of its parameters that are no defaults, but for model and lengths.
    """
    note = f"{learner.model}, fine-tuned"
    why = _why_not(measured, machine)
    if why:
        return _unfit(learner, data, note, why, given)
    gpu = max(machine.gpus, key=lambda one: one.memory_gib)
    way = _way(learner, measured, gpu)
    if way is None:
        few = f"{gpu.memory_gib:.0f} GiB of GPU memory are too few"
        return _unfit(learner, data, note, few, given)
    parameters, comments = _parameters(learner, data, way, gpu)
    minutes, basis = _minutes(learner, measured, data, gpu, way, parameters["train_length"])
    unfit = _missing(str(learner.model), way.bits)
    return Suggestion(parameters | given, comments, note, None, minutes, basis, unfit)


def _why_not(measured: Measured, machine: Machine) -> str:
    """Say why a machine computes no such model; empty where it does."""
    if not machine.gpus:
        time = "hours" if measured.train_rows > _HOURS else "days"
        return f"no GPU, and on CPU cores it would take {time}"
    capability = max(machine.gpus, key=lambda one: one.memory_gib).capability
    if capability is not None and capability < _LEAST_CAPABILITY:
        told = ".".join(map(str, capability))
        return f"the GPU's compute capability, {told}, is below 7.0"
    return ""


def _unfit(
    learner: Any, data: DataSummary, note: str, reason: str, given: dict[str, Any]
) -> Suggestion:
    parameters = {"model": str(learner.model)} | _lengths(learner, data, _BUDGET) | given
    return Suggestion(parameters, note=note, unfit=reason)


def _way(learner: Any, measured: Measured, gpu: Gpu) -> _Way | None:
    """Choose the fastest way that fits."""
    ways = _WHOLE if learner.tuning == "full" else _FROZEN
    room = gpu.memory_gib * _USABLE
    return next((way for way in ways if way.gib(measured) <= room), None)


def _lengths(learner: Any, data: DataSummary, budget: int) -> dict[str, int]:
    """Choose lengths that few battles exceed, no longer than the learner takes and a pack."""
    ordered = sorted(data.tokens) or [learner.train_length]
    most = ordered[int(0.99 * (len(ordered) - 1))] + _TEMPLATE_TOKENS
    longest = learner.train_length if learner.tuning == "full" else 2048
    train = min(_rounded(most), longest, budget // 256 * 256)
    return {"train_length": train, "predict_length": min(_rounded(most), longest * 3 // 2)}


def _rounded(tokens: int) -> int:
    return max(256, -(-tokens // 256) * 256)


def _parameters(
    learner: Any, data: DataSummary, way: _Way, gpu: Gpu
) -> tuple[dict[str, Any], dict[str, str]]:
    lengths = _lengths(learner, data, way.budget)
    found: dict[str, Any] = {"model": str(learner.model)} | lengths
    bfloat16 = gpu.capability is None or gpu.capability >= _BFLOAT16
    dtype = "bfloat16" if bfloat16 else "float16 with loss scaling: the card has no bfloat16"
    comments = {
        "model": f"computed in {dtype}",
        "train_length": f"{_above(data, lengths['train_length']):.0%} of the battles are cut",
    }
    if way.bits < 16:
        found["bits"] = way.bits
        comments["bits"] = f"frozen weights in {way.bits} bits: {gpu.memory_gib:.0f} GiB of memory"
    if way.checkpointed:
        found["activation_checkpointing"] = True
        comments["activation_checkpointing"] = "saves memory, costs a second forward pass"
    if way.budget < _BUDGET:
        found |= {"token_budget": way.budget, "predict_token_budget": 2 * way.budget}
    return found, comments


def _above(data: DataSummary, length: int) -> float:
    over = sum(tokens > length for tokens in data.tokens)
    return over / len(data.tokens) if data.tokens else 0.0


def _minutes(
    learner: Any, measured: Measured, data: DataSummary, gpu: Gpu, way: _Way, length: int
) -> tuple[float | None, str]:
    """Estimate all folds and their predictions, one after the other on one card."""
    words = re.findall(r"[A-Za-z0-9]+", gpu.name)
    speed = next((_TFLOPS[word] / _H100 for word in words if word in _TFLOPS), None)
    if speed is None:
        return None, f"nothing is known of the speed of {gpu.name}"
    folds = data.n_splits
    external = data.train_rows + data.pretrain_rows
    fitted = (folds - 1) * len(data.target_ids) + folds * external
    fitted *= 1 + learner.swap_augmentation
    predicted = len(data.target_ids) + folds * len(data.test_ids)
    orders = 1 + learner.swap_tta
    seconds = way.slower * fitted * learner.epochs / measured.train_rows
    seconds += orders * predicted / measured.predict_rows * (1.0 if way.bits == 16 else 1.5)
    tokens = data.mean_tokens(length) / _MEASURED_TOKENS
    basis = "from rates measured on one H100 or H200, tokens estimated; "
    basis += f"this card at {speed:.0%} of it"
    basis += "; 8 and 4 bits and checkpointing by a rule of thumb" if way.slower > 1 else ""
    return seconds * tokens / speed / 60, basis


def _missing(model: str, bits: int) -> str | None:
    """Say what has to be installed or fetched before the model can be used."""
    needed = ("torch", "transformers", "peft", *(("bitsandbytes",) if bits < 16 else ()))
    missing = [name for name in needed if find_spec(name) is None]
    reasons = []
    if missing:
        extra = "lm,quantized" if bits < 16 else "lm"
        reasons.append(f"{', '.join(missing)} must be installed: pip install '.[{extra}]'")
    if not is_here(model):
        reasons.append(f"its weights are not here as safetensors: hf download {model}")
    return "; ".join(reasons) or None


def is_here(model: str) -> bool:
    """Say whether a model's config and all of its safetensors are on this machine."""
    if Path(model).is_dir():
        return (Path(model) / "config.json").exists()
    if find_spec("huggingface_hub") is None:
        return False
    from huggingface_hub import try_to_load_from_cache

    def cached(name: str) -> str | None:
        found = try_to_load_from_cache(model, name)
        return found if isinstance(found, str) else None

    if cached("config.json") is None:
        return False
    index = cached("model.safetensors.index.json")
    if index is None:
        return cached("model.safetensors") is not None
    shards = set(json.loads(Path(index).read_text(encoding="utf-8"))["weight_map"].values())
    return all(cached(shard) for shard in shards)
