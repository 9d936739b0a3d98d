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
import collections
import gc
import itertools
import json
import math
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from transformers import (
    DebertaV2Config,
    DebertaV2ForSequenceClassification,
    Gemma2Config,
    Gemma2ForSequenceClassification,
    LlamaConfig,
    LlamaForSequenceClassification,
)

from ensemble_plugins.language_model.model import attention
from ensemble_plugins.language_model.model.batches import make_padded
from ensemble_plugins.language_model.model.classifier import Classifier
from ensemble_plugins.language_model.model.compiled import not_compiled
from ensemble_plugins.language_model.model.inference import compute_logits
from ensemble_plugins.language_model.model.parity import drift, reference_logits, rounded_logits
from ensemble_plugins.language_model.settings import (
    ModelSettings,
    PredictionSettings,
    TrainingSettings,
)
from ensemble_plugins.language_model.text.tokens import Tokens
from ensemble_plugins.language_model.train.memory import TILES
from ensemble_plugins.language_model.train.rows import LabeledRows
from ensemble_plugins.language_model.train.training import Training

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

DEVICE = torch.device("cuda")
LONGEST = 2048
STARTED = time.perf_counter()
ROWS: list[dict[str, Any]] = []

SHAPES: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    "gemma2": (
        Gemma2ForSequenceClassification,
        Gemma2Config,
        {
            "vocab_size": 256000,
            "hidden_size": 3584,
            "intermediate_size": 14336,
            "num_hidden_layers": 42,
            "num_attention_heads": 16,
            "num_key_value_heads": 8,
            "head_dim": 256,
            "query_pre_attn_scalar": 224,
            "sliding_window": 4096,
            "num_labels": 3,
            "pad_token_id": 0,
        },
    ),
    "llama3": (
        LlamaForSequenceClassification,
        LlamaConfig,
        {
            "vocab_size": 128256,
            "hidden_size": 4096,
            "intermediate_size": 14336,
            "num_hidden_layers": 32,
            "num_attention_heads": 32,
            "num_key_value_heads": 8,
            "max_position_embeddings": 8192,
            "rope_parameters": {"rope_type": "default", "rope_theta": 500000.0},
            "num_labels": 3,
            "pad_token_id": 0,
        },
    ),
    "deberta": (
        DebertaV2ForSequenceClassification,
        DebertaV2Config,
        {
            "vocab_size": 128100,
            "hidden_size": 1024,
            "intermediate_size": 4096,
            "num_hidden_layers": 24,
            "num_attention_heads": 16,
            "relative_attention": True,
            "position_buckets": 256,
            "max_relative_positions": -1,
            "pos_att_type": ["p2c", "c2p"],
            "share_att_key": True,
            "norm_rel_ebd": "layer_norm",
            "position_biased_input": False,
            "type_vocab_size": 0,
            "max_position_embeddings": 512,
            "layer_norm_eps": 1e-7,
            "num_labels": 3,
            "pad_token_id": 0,
        },
    ),
}

CONFIGS: dict[str, tuple[Any, Any]] = {
    name: (kind, make(**shape)) for name, (kind, make, shape) in SHAPES.items()
}


def say(*parts: object) -> None:
    """Print with the time since the start."""
    print(f"[{time.perf_counter() - STARTED:6.1f}]", *parts, flush=True)


def matrix_rate(times: int = 10) -> float:
    """Measure a dense bfloat16 matrix product, FLOP/s; over seconds the GPU lowers its clock."""
    a = torch.randn(8192, 8192, device=DEVICE, dtype=torch.bfloat16)
    b = torch.randn_like(a)
    return 2 * 8192**3 / timed(lambda: a @ b, times, warm=3)


def timed(action: Callable[[], object], times: int, *, warm: int = 1) -> float:
    """Give the seconds that an action takes on the device."""
    for _ in range(warm):
        action()
    torch.cuda.synchronize()
    started = time.perf_counter()
    for _ in range(times):
        action()
    torch.cuda.synchronize()
    return (time.perf_counter() - started) / times


def battle_rows(count: int, *, seed: int = 1) -> Tokens:
    """Draw rows with the lengths of real battles."""
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.exp(torch.randn(2048, generator=generator) * 0.9 + math.log(700))
    lengths = drawn.clamp(32, LONGEST).int().numpy()[:count]
    ids = np.random.default_rng(seed)
    return Tokens.from_rows([ids.integers(5, 120_000, n).astype(np.int32) for n in lengths])


def build(name: str, settings: ModelSettings, **options: Any) -> Classifier:
    """Make a model with random weights on the device."""
    kind, config = CONFIGS[name]
    config.use_cache = False
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float32 if settings.tuning == "full" else torch.bfloat16)
    with DEVICE:
        base = kind(config)
    base.set_attn_implementation("eager")
    torch.set_default_dtype(torch.float32)
    return Classifier(base, settings, **options)


def free() -> None:
    """Let go of what the last model held."""
    gc.collect()
    torch.cuda.empty_cache()
    torch.compiler.reset()


def operations(name: str, lengths: np.ndarray) -> float:
    """Count the floating-point operations of a forward pass over rows, every layer in full.

    Attention as if causal, and nothing for DeBERTa's positions: its share is understated.
    """
    kind, config = CONFIGS[name]
    with torch.device("meta"):
        linear = sum(
            p.numel()
            for key, p in kind(config).named_parameters()
            if p.ndim == 2 and "embed" not in key
        )
    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    squares = (lengths.astype(float) ** 2).sum()
    return float(
        2 * linear * lengths.sum()
        + config.num_hidden_layers * 2 * config.num_attention_heads * size * squares
    )


class Report:
    """Collects a line a measurement.

    Parameters
    ----------
    rate
        FLOP/s of a dense matrix product on a GPU that was idle before.
    """

    def __init__(self, rate: float) -> None:
        self.rate = rate

    def add(self, label: str, rows: int, seconds: float, flop: float) -> None:
        """Note one; right after it, and so as warm, the matrix product is measured for a second."""
        memory = torch.cuda.max_memory_allocated() / 2**30
        say(f"{label}: {rows / seconds:.2f} rows/s, {flop / seconds / self.rate:.1%}")
        torch.cuda.empty_cache()
        sustained = matrix_rate(times=600)
        line = {
            "what": label,
            "rows_per_second": rows / seconds,
            "share": flop / seconds / self.rate,
            "share_of_sustained_rate": flop / seconds / sustained,
            "sustained_teraflop_per_second": sustained / 1e12,
            "gib": memory,
            "minutes_per_1000": 1000 / (rows / seconds) / 60,
        }
        ROWS.append(line)
        say(
            f"{label:46s} {rows / seconds:7.2f} rows/s  {line['share']:6.1%} of the burst rate, "
            f"{line['share_of_sustained_rate']:6.1%} of {sustained / 1e12:.0f} TFLOP/s sustained, "
            f"{memory:5.1f} GiB"
        )
        torch.cuda.reset_peak_memory_stats()


def infer(
    name: str, classifier: Classifier, tokens: Tokens, label: str, report: Report, budget: int
) -> None:
    """Measure prediction as the learner does it."""
    warm = tokens.take(np.arange(min(len(tokens), 60), dtype=np.int64))
    compute_logits(classifier, warm, budget)
    compute_logits(classifier, warm, budget)
    torch.cuda.reset_peak_memory_stats()
    seconds = timed(lambda: compute_logits(classifier, tokens, budget), 1, warm=0)
    flop = operations(name, tokens.lengths)
    report.add(label, len(tokens), seconds, flop)


def infer_padded(
    name: str, classifier: Classifier, tokens: Tokens, label: str, report: Report
) -> None:
    """Measure prediction as notebooks do it: eager, padded to the greatest length, 8 at a time."""
    batches = [_full_width(tokens, start) for start in range(0, len(tokens), 8)]
    with torch.inference_mode(), classifier.as_transformers() as model, _bfloat16():
        seconds = timed(lambda: [model(input_ids=i, attention_mask=m) for i, m in batches], 1)
    report.add(label, len(tokens), seconds, operations(name, tokens.lengths))


def _full_width(tokens: Tokens, start: int) -> tuple[torch.Tensor, torch.Tensor]:
    rows = np.arange(start, min(start + 8, len(tokens)), dtype=np.int64)
    padded = make_padded(tokens, rows, device=DEVICE, pad_id=0)
    missing = (0, LONGEST - padded.ids.shape[1])
    return tuple(torch.nn.functional.pad(part, missing) for part in (padded.ids, padded.attended))  # type: ignore[return-value]


def _bfloat16() -> Any:
    return torch.autocast("cuda", torch.bfloat16)


def train(
    name: str,
    classifier: Classifier,
    settings: TrainingSettings,
    label: str,
    report: Report,
    steps: int = 4,
    warm: int = 2,
) -> Training:
    """Measure steps of the engine's own training."""
    # More rows than are computed: the last packs of an epoch are not as full as the others.
    tokens = battle_rows(settings.batch_size * (steps + warm + 4))
    rows = LabeledRows(
        (tokens,),
        np.eye(3)[np.arange(len(tokens)) % 3],
        np.ones(len(tokens)),
        np.arange(len(tokens), dtype=np.int64),
    )
    training = Training(classifier, rows, settings, seed=0)
    classifier.model.train()
    for step in training.steps[:warm]:
        training._step(step)
    torch.cuda.synchronize()
    say(f"{label}: warm")
    torch.cuda.reset_peak_memory_stats()
    chosen = training.steps[warm : warm + steps]
    started = time.perf_counter()
    for step in chosen:
        training._step(step)
    torch.cuda.synchronize()
    seconds = time.perf_counter() - started
    lengths = tokens.lengths[np.concatenate([part for step in chosen for part in step])]
    factor = 3 if settings_full(classifier) else 2
    report.add(label, len(lengths), seconds, factor * operations(name, lengths))
    classifier.model.eval()
    return training


def settings_full(classifier: Classifier) -> bool:
    """Say whether gradients of the weights are computed too, and not of the activations alone."""
    return classifier.settings.tuning == "full"


def train_padded(
    name: str, classifier: Classifier, label: str, report: Report, rows: int = 16
) -> None:
    """Measure training as notebooks do it: eager, checkpointed, padded, 8 at a time."""
    tokens = battle_rows(rows)
    batches = [_full_width(tokens, start) for start in range(0, rows, 8)]
    trained = [p for p in classifier.model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-5, fused=True)

    def step(ids: torch.Tensor, mask: torch.Tensor) -> None:
        labels = torch.zeros(len(ids), dtype=torch.long, device=DEVICE)
        with _bfloat16():
            logits = model(input_ids=ids, attention_mask=mask).logits
        torch.nn.functional.cross_entropy(logits.float(), labels).backward()
        optimizer.step()
        optimizer.zero_grad()

    def epoch() -> None:
        for batch in batches:
            step(*batch)

    with classifier.as_transformers() as model:
        model.train()
        model.gradient_checkpointing_enable({"use_reentrant": False})
        step(*batches[0])
        torch.cuda.reset_peak_memory_stats()
        seconds = timed(epoch, 1, warm=0)
        model.gradient_checkpointing_disable()
    factor = 3 if settings_full(classifier) else 2
    report.add(label, rows, seconds, factor * operations(name, tokens.lengths))


def kernels(label: str, action: Callable[[], object], most: int = 14) -> None:
    """Print where the device's time goes, by kernel, and when it waits."""
    activities = [torch.profiler.ProfilerActivity.CUDA]
    with torch.profiler.profile(activities=activities) as profile:
        action()
        torch.cuda.synchronize()
    events = [event for event in profile.events() if event.device_type.name == "CUDA"]
    events.sort(key=lambda event: event.time_range.start)
    spent: collections.Counter[str] = collections.Counter()
    for event in events:
        spent[event.name] += event.device_time
    calls = collections.Counter(event.name for event in events)
    total = sum(spent.values())
    ends = itertools.accumulate((event.time_range.end for event in events), max)
    gaps = [
        (after.time_range.start - end, before.name, after.name)
        for end, (before, after) in zip(ends, itertools.pairwise(events), strict=False)
    ]
    waited = sum(max(gap, 0) for gap, *_ in gaps)
    say(f"{label}: {len(events)} kernels {total / 1e3:.0f} ms, waits between {waited / 1e3:.0f} ms")
    for gap, before, after in sorted(gaps, reverse=True)[:3]:
        print(f"    {gap / 1e3:8.1f} ms between {before[:50]} and {after[:50]}")
    for kernel, microseconds in spent.most_common(most):
        share = f"{microseconds / total:5.1%} {calls[kernel]:5d} x"
        print(f"    {microseconds / 1e3:8.1f} ms {share} {kernel[:100]}")


def drifts(name: str, classifier: Classifier, probe: Tokens, budget: int) -> None:
    """Print how far logits are from float32, by what computes them: where a fault would lie."""
    reference = reference_logits(classifier, probe)
    size = 1 + np.abs(reference).max()
    own = np.abs(rounded_logits(classifier, probe) - reference).max() / size
    say(f"{name} drift from float32 (greatest logit {size - 1:.2f}): transformers {own:.4f}")
    for label, context in (
        ("compiled layers", _as_it_is),
        ("plain layers", _not_compiled),
        ("plain layers, plain attention", _plain_attention),
    ):
        with context(classifier):
            say(f"    {label}: {drift(classifier, probe, reference, budget):.4f}")


@contextmanager
def _as_it_is(_classifier: Classifier) -> Iterator[None]:
    yield


@contextmanager
def _not_compiled(classifier: Classifier) -> Iterator[None]:
    with not_compiled(classifier.model.modules()):
        yield


@contextmanager
def _plain_attention(classifier: Classifier) -> Iterator[None]:
    plain = attention.packed_attention

    def by_rows(
        _module: Any, query: Any, key: Any, value: Any, _mask: Any, *, row_mask: Any, **options: Any
    ) -> Any:
        chosen = (options[name] for name in ("scaling", "softcap", "sliding_window"))
        out = attention._by_rows(query, key, value, row_mask, *chosen)
        return out.transpose(1, 2).contiguous(), None

    attention.packed_attention = by_rows  # type: ignore[assignment]
    try:
        with _not_compiled(classifier):
            yield
    finally:
        attention.packed_attention = plain


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
