"""Language models at their true size, with random weights, on one GPU: the share of its rate.

    python benchmarks/language_model.py --models gemma2 llama3 deberta
    python benchmarks/language_model.py --models gemma2 --parts train train-fp8

Rows have the lengths of real battles (log-normal, median 700 tokens, mean about 900, cap 2048). The
share is the model's floating-point operations, as if every layer computed every token, over the
rate of a dense bfloat16 matrix product measured in the same run. Needs torch, transformers and
peft; no polars.

Where the time went on an H100, in milliseconds (``--profile``):

- Gemma-2-9B, a pack of 16,896 tokens: 464, of which matrix products 385 (93% of the idle GPU's
  rate), attention 30, GELU and product 19, norms 18, rotary embeddings 6, waits 2.
- A LoRA step of 8,448 tokens: 614, of which large products 376, low-rank ones 52, attention
  backward 87 and forward 18, GELU with its gradient 26, norms 21, waits 9.
- DeBERTa is bound by memory: of a training step of 1,888, putting what distances are worth in its
  place and back takes 770, attention 500.

An earlier version on an H200: Gemma-2 inference 76.8% of the idle rate, FP8 119.2%, LoRA 59.3%.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from device_time import free, kernels, matrix_rate, say
from model_drift import drifts
from model_shapes import CONFIGS, battle_rows, build
from model_speed import ROWS, Report, infer, infer_padded, train, train_padded

from ensemble_plugins.language_model.model.inference import compute_logits
from ensemble_plugins.language_model.model.parity import drift, reference_logits, rounded_logits
from ensemble_plugins.language_model.settings import (
    ModelSettings,
    PredictionSettings,
    TrainingSettings,
)
from ensemble_plugins.language_model.train.memory import TILES


def decoder(name: str, report: Report, options: argparse.Namespace) -> None:
    """Measure a decoder: prediction in bfloat16 and FP8, and LoRA training."""
    rows = battle_rows(options.rows)
    classifier = build(name, ModelSettings(name, rank=16))
    if "drift" in options.parts:
        drifts(f"{name}, adapters new", classifier, rows.take(np.arange(4)), options.budget)
    if options.baseline:
        infer_padded(
            name, classifier, rows.take(np.arange(32)), f"{name} inference, notebooks' way", report
        )
        train_padded(name, classifier, f"{name} training, notebooks' way", report)
    if "train" in options.parts:
        settings = TrainingSettings(
            batch_size=64, token_budget=options.train_budget, warmup_ratio=0.0
        )
        training = train(name, classifier, settings, f"{name} LoRA r16, packed", report)
        if options.profile:
            classifier.model.train()
            kernels(f"{name} training", lambda: training._step(training.steps[0]), 24)
        classifier.model.eval()
        if "drift" in options.parts:
            drifts(f"{name}, trained", classifier, rows.take(np.arange(4)), options.budget)
    if "infer" in options.parts:
        probe = rows.take(np.arange(4))
        reference = reference_logits(classifier, probe)
        gap = drift(classifier, probe, reference, options.budget)
        own = np.abs(rounded_logits(classifier, probe) - reference).max()
        own /= 1 + np.abs(reference).max()
        say(f"{name} drift of bfloat16 packs from float32: {gap:.4f}; transformers' own {own:.4f}")
        classifier.prepare(PredictionSettings(), merge=True)
        infer(name, classifier, rows, f"{name} inference, packed", report, options.budget)
        if options.profile:
            kernels(f"{name} inference", lambda: compute_logits(classifier, rows, options.budget))
        classifier.prepare(PredictionSettings(precision="fp8"), merge=False)
        infer(name, classifier, rows, f"{name} inference, packed, FP8", report, options.budget)
        if options.profile:
            kernels(f"{name} FP8", lambda: compute_logits(classifier, rows, options.budget))
        gap = drift(classifier, probe, reference, options.budget)
        say(f"{name} drift of FP8 packs from float32: {gap:.4f}")


def encoder(name: str, report: Report, options: argparse.Namespace) -> None:
    """Measure an encoder whose rows cannot be packed: padded as notebooks do, and by length."""
    rows = battle_rows(options.rows)
    classifier = build(name, ModelSettings(name, tuning="full"))
    if options.baseline:
        train_padded(name, classifier, f"{name} training, notebooks' way", report, rows=32)
    if "train" in options.parts:
        settings = TrainingSettings(
            batch_size=64, token_budget=options.train_budget, warmup_ratio=0.0
        )
        label = f"{name} training, sorted by length"
        # Layers are compiled for batches of one row and of more, of few tokens and of many.
        training = train(name, classifier, settings, label, report, warm=5)
        if options.profile:
            classifier.model.train()
            kernels(f"{name} training", lambda: training._step(training.steps[0]), 24)
            classifier.model.eval()
    classifier.prepare(PredictionSettings(), merge=False)
    if options.baseline:
        few = rows.take(np.arange(64))
        infer_padded(name, classifier, few, f"{name} inference, notebooks' way", report)
    if "infer" in options.parts:
        infer(name, classifier, rows, f"{name} inference, sorted by length", report, options.budget)
        if options.profile:
            kernels(f"{name} inference", lambda: compute_logits(classifier, rows, options.budget))


def train_in_fp8(name: str, report: Report, options: argparse.Namespace) -> None:
    """Measure training over frozen weights in FP8."""
    free()
    classifier = build(name, ModelSettings(name, rank=16, train_precision="fp8"))
    settings = TrainingSettings(batch_size=64, token_budget=options.train_budget, warmup_ratio=0.0)
    training = train(name, classifier, settings, f"{name} LoRA r16, packed, FP8", report)
    if options.profile:
        classifier.model.train()
        kernels(f"{name} training in FP8", lambda: training._step(training.steps[0]), 30)


def token_budget(told: str) -> Any:
    """Read the tokens of a budget, or ``auto``."""
    return told if told == "auto" else int(told)


def main() -> None:
    """Run what is asked for, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="+", default=list(CONFIGS), choices=list(CONFIGS))
    parser.add_argument("--parts", nargs="+", default=["drift", "train", "infer"])
    parser.add_argument("--rows", type=int, default=1024)
    parser.add_argument("--budget", type=int, default=PredictionSettings.token_budget)
    parser.add_argument("--train-budget", type=token_budget, default=TILES, help="tokens, or auto")
    parser.add_argument("--baseline", action="store_true", help="measure the notebooks' way too")
    parser.add_argument("--profile", action="store_true", help="print kernels by time")
    parser.add_argument("--layers", type=int, help="fewer layers, for a quick look at the kernels")
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    for name in options.models if options.layers else ():
        CONFIGS[name][1].num_hidden_layers = options.layers
        if hasattr(CONFIGS[name][1], "layer_types"):
            CONFIGS[name][1].layer_types = CONFIGS[name][1].layer_types[: options.layers]
    rate = matrix_rate()
    say(f"{torch.cuda.get_device_name()}, torch {torch.__version__}, {rate / 1e12:.0f} TFLOP/s")
    for name in options.models:
        (encoder if name == "deberta" else decoder)(name, Report(rate), options)
        if "train-fp8" in options.parts:
            train_in_fp8(name, Report(rate), options)
        free()
    if options.output:
        options.output.write_text(json.dumps(ROWS, indent=2))


if __name__ == "__main__":
    main()
