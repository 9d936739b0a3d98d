"""Small causal models at their true size, with random weights, on one GPU: LoRA training.

    python benchmarks/small_models.py                     # SmolLM2-135M and Gemma-3-270M
    python benchmarks/small_models.py --models smollm2 --profile
    python benchmarks/small_models.py --models smollm2 --budgets auto auto   # start again

Rows have the lengths of real battles in SmolLM2's tokens (log-normal, median 362, cut at 1,536),
each in both orders, 16 battles a step. Beside the engine stands a plain loop with the defaults of
transformers' Trainer and PEFT: padded to the longest row of a batch, SDPA, autocast.
The share is the operations of the linear layers over the rate of a dense bfloat16 product that was
measured in the same run. Needs torch, transformers and peft; no polars.
"""

from __future__ import annotations

import argparse
import gc
import time
from typing import Any

import numpy as np
import torch
from device_time import DEVICE, kernels, matrix_rate, say
from language_model import token_budget
from peft import LoraConfig, get_peft_model
from transformers import (
    Gemma3TextConfig,
    Gemma3TextForSequenceClassification,
    LlamaConfig,
    LlamaForSequenceClassification,
)

from ensemble_plugins.language_model.model import merged
from ensemble_plugins.language_model.model.classifier import Classifier
from ensemble_plugins.language_model.settings import ModelSettings, TrainingSettings
from ensemble_plugins.language_model.text.tokens import Tokens
from ensemble_plugins.language_model.train.rows import LabeledRows
from ensemble_plugins.language_model.train.training import Training

LONGEST = 1536
BATCH = 16
LORA: dict[str, Any] = {
    "r": 16,
    "lora_alpha": 32.0,
    "target_modules": "all-linear",
    "task_type": "SEQ_CLS",
}
SHAPES: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    "smollm2": (
        LlamaForSequenceClassification,
        LlamaConfig,
        {
            "vocab_size": 49152,
            "hidden_size": 576,
            "intermediate_size": 1536,
            "num_hidden_layers": 30,
            "num_attention_heads": 9,
            "num_key_value_heads": 3,
            "max_position_embeddings": 8192,
            "rope_parameters": {"rope_type": "default", "rope_theta": 100000.0},
            "pad_token_id": 2,
        },
    ),
    "gemma3": (
        Gemma3TextForSequenceClassification,
        Gemma3TextConfig,
        {
            "vocab_size": 262144,
            "hidden_size": 640,
            "intermediate_size": 2048,
            "num_hidden_layers": 18,
            "num_attention_heads": 4,
            "num_key_value_heads": 1,
            "head_dim": 256,
            "query_pre_attn_scalar": 256,
            "sliding_window": 512,
            "pad_token_id": 0,
        },
    ),
}


def battles(count: int) -> Tokens:
    """Draw rows with the lengths of real battles."""
    draw = np.random.default_rng(1)
    lengths = np.exp(draw.normal(np.log(362), 0.87, count)).clip(40, LONGEST).astype(int)
    return Tokens.from_rows([draw.integers(5, 49_000, n).astype(np.int32) for n in lengths])


def build(name: str) -> Any:
    """Make a model with random weights on the device."""
    kind, make, shape = SHAPES[name]
    config = make(**shape, num_labels=3, use_cache=False)
    torch.manual_seed(0)
    torch.set_default_dtype(torch.bfloat16)
    with DEVICE:
        base = kind(config)
    torch.set_default_dtype(torch.float32)
    return base


def operations(base: Any, tokens: int) -> float:
    """Operations of forward and backward pass through frozen linear layers."""
    linear = [m for m in base.modules() if isinstance(m, torch.nn.Linear)]
    return 4.0 * tokens * sum(m.weight.numel() for m in linear)


def told(label: str, base: Any, lengths: np.ndarray, seconds: float, rate: float) -> None:
    """Print a line of results."""
    share = operations(base, int(lengths.sum())) / seconds / rate
    peak = torch.cuda.max_memory_allocated() / 2**30
    say(f"{label:44s} {len(lengths) / seconds:7.1f} rows/s {share:6.1%} {peak:5.1f} GiB")
    torch.cuda.reset_peak_memory_stats()


def engine(name: str, rate: float, budget: Any, steps: int, *, profile: bool) -> None:
    """Measure the engine's own steps."""
    began = time.perf_counter()
    classifier = Classifier(build(name), ModelSettings(model=name))
    # More rows than are computed: the last packs of an epoch are not as full as the others.
    tokens, swapped = battles(BATCH * (steps + 12)), battles(BATCH * (steps + 12))
    count = len(tokens)
    rows = LabeledRows(
        (tokens, swapped), np.eye(3)[np.arange(count) % 3], np.ones(count), np.arange(count)
    )
    settings = TrainingSettings(batch_size=BATCH, swap_augmentation=True, token_budget=budget)
    training = Training(classifier, rows, settings, seed=0)
    classifier.model.train()
    for step in training.steps[:4]:
        training._step(step)
    torch.cuda.synchronize()
    say(f"{name}, engine, {budget} tokens: {time.perf_counter() - began:.1f} s to start")
    torch.cuda.reset_peak_memory_stats()
    chosen = training.steps[4 : 4 + steps]
    started = time.perf_counter()
    for step in chosen:
        training._step(step)
    torch.cuda.synchronize()
    seconds = time.perf_counter() - started
    done = np.concatenate([part for step in chosen for part in step])
    lengths = np.concatenate([tokens.lengths[done], swapped.lengths[done]])
    told(f"{name}, engine, {budget} tokens", classifier.base, lengths, seconds, rate)
    if profile:
        kernels(f"{name}, two steps", lambda: [training._step(s) for s in chosen[:2]], most=24)
    classifier.model.eval()


def plain(name: str, rate: float, steps: int) -> None:
    """Measure a loop as Trainer and PEFT make it."""
    model = get_peft_model(build(name), LoraConfig(**LORA))
    model.train()
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-4, fused=True)
    tokens = battles(2 * BATCH * (steps + 2))
    order = np.arange(len(tokens)).reshape(-1, BATCH)

    def step(rows: np.ndarray) -> None:
        parts = [torch.from_numpy(tokens.row(int(row)).astype(np.int64)) for row in rows]
        ids = torch.nn.utils.rnn.pad_sequence(parts, batch_first=True).to(DEVICE)
        mask = torch.nn.utils.rnn.pad_sequence([torch.ones_like(p) for p in parts], True).to(DEVICE)
        with torch.autocast("cuda", torch.bfloat16):
            logits = model(input_ids=ids, attention_mask=mask).logits
        labels = torch.zeros(len(rows), dtype=torch.long, device=DEVICE)
        torch.nn.functional.cross_entropy(logits.float(), labels).backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad()

    for rows in order[:4]:
        step(rows)
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    started = time.perf_counter()
    for rows in order[4:]:
        step(rows)
    torch.cuda.synchronize()
    seconds = time.perf_counter() - started
    told(f"{name}, plain loop", model, tokens.lengths[order[4:].ravel()], seconds, rate)


def main() -> None:
    """Measure the models that are asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--models", nargs="*", choices=list(SHAPES), default=list(SHAPES))
    parser.add_argument("--budgets", nargs="*", type=token_budget, default=[8448, "auto"])
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--engine-only", action="store_true", help="leave out the plain loop")
    parser.add_argument("--apart", action="store_true", help="adapters in products of their own")
    options = parser.parse_args()
    if options.apart:
        merged.LARGEST = 0
    rate = matrix_rate()
    say(f"{torch.cuda.get_device_name()}, {rate / 1e12:.0f} TFLOP/s in a dense bfloat16 product")
    for name in options.models:
        if not options.engine_only:
            plain(name, rate, options.steps)
        for budget in options.budgets:
            gc.collect()
            torch.cuda.empty_cache()
            engine(name, rate, budget, options.steps, profile=options.profile)


if __name__ == "__main__":
    main()
