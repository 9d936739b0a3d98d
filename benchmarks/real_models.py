"""Real pretrained models on real battles: OOF log loss of LoRA, on a machine that has only torch.

    python benchmarks/real_models.py prepare RUN MODEL OUT --plugin causal-lora   # needs polars
    python benchmarks/real_models.py fit OUT MODEL --seeds 1 2 3                # needs a GPU
    python benchmarks/real_models.py fit OUT MODEL --plain --folds 0             # Trainer and PEFT
    python benchmarks/real_models.py compare OUT                                 # one of the other
    python benchmarks/real_models.py score OUT

``prepare`` takes battles and folds of a run (``ensemble prepare`` and ``ensemble split``) and
writes token ids. ``fit`` trains a model for each fold with the engine, or in a plain loop with the
defaults of transformers' Trainer and PEFT, under the same settings, and keeps what is done; its
batches are computed in parts of about one length, which saves padding and changes no gradient.
``score`` prints log losses with 95% intervals over clusters, and writes OOF logits. ``compare``
prints the difference of both on the folds and seeds that both have fitted.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ensemble_plugins.language_model.text.tokens import Tokens

    FloatArray = NDArray[Any]

LENGTH = 1536
BATCH = 16
EPOCHS = 2
RATE = 2e-4
RANK, ALPHA = 16, 32.0
PART = 8
"""Rows that the plain loop computes at once."""


def prepare(run: Path, model: str, out: Path, plugin: str) -> None:
    """Write tokens of both orders, labels, clusters and folds of the target's rows."""
    from ensemble.battles.schema import LABEL_COLUMNS, learner_view
    from ensemble.plugin.manager import get_manager
    from ensemble.run_dir.tables import read_table

    plan = read_table(run / "folds.parquet").drop_nulls("fold").select("id", "cluster", "fold")
    battles = plan.join(read_table(run / "battles.parquet"), on="id", maintain_order="left")
    kind: Any = get_manager().base_learners.get(plugin)
    learner = kind(model=model, train_length=LENGTH)
    out.mkdir(parents=True, exist_ok=True)
    arrays: dict[str, Any] = {
        "labels": battles.select(LABEL_COLUMNS).to_numpy(),
        "clusters": battles["cluster"].to_numpy(),
        "folds": battles["fold"].to_numpy(),
    }
    for order in (0, 1):
        tokens = learner._tokens(learner_view(battles), LENGTH, swapped=bool(order))
        arrays[f"ids_{order}"] = np.concatenate([tokens.row(i) for i in range(len(tokens))])
        arrays[f"lengths_{order}"] = tokens.lengths
    np.savez_compressed(out / "rows.npz", **arrays)
    (out / "ids.txt").write_text("\n".join(battles["id"]) + "\n", encoding="utf-8")


class Rows:
    """What ``prepare`` has written."""

    def __init__(self, out: Path) -> None:
        found = np.load(out / "rows.npz", allow_pickle=False)
        self.labels, self.clusters = found["labels"], found["clusters"]
        self.folds = found["folds"]
        self.orders = tuple(_tokens(found, order) for order in (0, 1))


def _tokens(found: Any, order: int) -> Tokens:
    from ensemble_plugins.language_model.text.tokens import Tokens

    ends = np.cumsum(found[f"lengths_{order}"])
    return Tokens.from_rows(np.split(found[f"ids_{order}"].astype(np.int32), ends[:-1]))


def fit(out: Path, model: str, seed: int, folds: list[int] | None, *, plain: bool) -> None:
    """Train and predict fold by fold; logits are the mean of both orders."""
    import torch

    rows = Rows(out)
    for fold in folds or sorted({*rows.folds.tolist()}):
        place = out / f"{'plain' if plain else 'engine'}-seed-{seed}-fold-{fold}.npz"
        if place.exists():
            continue
        learned, held_out = np.flatnonzero(rows.folds != fold), np.flatnonzero(rows.folds == fold)
        began = time.perf_counter()
        make = _plain if plain else _engine
        logits, seconds = make(rows, learned, held_out, model, seed)
        torch.compiler.reset()  # another fold may have another width
        both = (logits[0] + logits[1][:, [1, 0, 2]]) / 2
        np.savez(place, rows=held_out, logits=both, one_order=logits[0], seconds=seconds)
        loss = log_loss(rows.labels[held_out], both).mean()
        whole = time.perf_counter() - began
        items = 2 * EPOCHS * len(learned)
        print(
            f"{place.stem}: log loss {loss:.4f}, {seconds:.1f} s of steps, "
            f"{items / seconds:.0f} rows/s, {whole:.1f} s in all",
            flush=True,
        )


def _engine(
    rows: Rows, learned: Any, held_out: Any, model: str, seed: int
) -> tuple[list[FloatArray], float]:
    import torch

    from ensemble_plugins.language_model.model.inference import compute_logits
    from ensemble_plugins.language_model.model.loading import load_classifier
    from ensemble_plugins.language_model.settings import ModelSettings, TrainingSettings
    from ensemble_plugins.language_model.train.rows import LabeledRows
    from ensemble_plugins.language_model.train.training import Training

    chosen = ModelSettings(model, rank=RANK, alpha=ALPHA)
    classifier = load_classifier(chosen, device=torch.device("cuda"), seed=seed)
    orders = tuple(tokens.take(learned) for tokens in rows.orders)
    labels = rows.labels[learned]
    given = LabeledRows(orders, labels, np.ones(len(learned)), rows.clusters[learned])
    settings = TrainingSettings(
        epochs=EPOCHS,
        batch_size=BATCH,
        swap_augmentation=True,
        learning_rate=RATE,
        head_learning_rate=RATE,
    )
    began = time.perf_counter()
    Training(classifier, given, settings, seed=seed).run()
    torch.cuda.synchronize()
    seconds = time.perf_counter() - began
    asked = (tokens.take(held_out) for tokens in rows.orders)
    return [compute_logits(classifier, tokens, 33792) for tokens in asked], seconds


def _plain(
    rows: Rows, learned: Any, held_out: Any, model: str, seed: int
) -> tuple[list[FloatArray], float]:
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForSequenceClassification, get_cosine_schedule_with_warmup

    torch.manual_seed(seed)
    base = AutoModelForSequenceClassification.from_pretrained(
        model, num_labels=3, dtype=torch.bfloat16
    ).to("cuda")
    base.config.pad_token_id = 0
    options: Any = {"r": RANK, "lora_alpha": ALPHA, "target_modules": "all-linear"}
    made: Any = get_peft_model(base, LoraConfig(task_type="SEQ_CLS", **options))
    trained = [p for p in made.parameters() if p.requires_grad]
    for parameter in trained:
        parameter.data = parameter.data.float()

    def logits(items: Any) -> Any:
        """Compute the logits of pairs of order and row, padded to the longest."""
        parts = [torch.from_numpy(rows.orders[o].row(int(i)).astype(np.int64)) for o, i in items]
        pad = torch.nn.utils.rnn.pad_sequence
        mask = pad([torch.ones_like(part) for part in parts], batch_first=True).to("cuda")
        # Another id than 0 where a row has it: the head reads the last one that is none.
        ids = pad(parts, batch_first=True, padding_value=0).to("cuda")
        with torch.autocast("cuda", torch.bfloat16):
            hidden = made.base_model.model.model(input_ids=ids, attention_mask=mask)[0]
        last = mask.sum(dim=1) - 1
        return made.base_model.model.score(hidden[torch.arange(len(ids)), last].float())

    def by_length(chosen: Any) -> list[Any]:
        """Divide rows in both orders among parts of about one length."""
        items = [(order, int(row)) for row in chosen for order in (0, 1)]
        items.sort(key=lambda item: rows.orders[item[0]].lengths[item[1]])
        return [items[start : start + PART] for start in range(0, len(items), PART)]

    steps = EPOCHS * -(-len(learned) // BATCH)
    optimizer = torch.optim.AdamW(trained, lr=RATE, weight_decay=0.01, fused=True)
    schedule = get_cosine_schedule_with_warmup(optimizer, steps // 10, steps)
    draw, began = np.random.default_rng(seed), time.perf_counter()
    made.train()
    for _ in range(EPOCHS):
        for batch in np.array_split(draw.permutation(learned), steps // EPOCHS):
            for part in by_length(batch):
                labels = [
                    rows.labels[row][[1, 0, 2] if order else [0, 1, 2]] for order, row in part
                ]
                wanted = torch.from_numpy(np.array(labels, dtype=np.float32)).to("cuda")
                losses = torch.nn.functional.cross_entropy(logits(part), wanted, reduction="sum")
                (losses / (2 * len(batch))).backward()
            torch.nn.utils.clip_grad_norm_(trained, 1.0)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
    torch.cuda.synchronize()
    seconds = time.perf_counter() - began
    made.eval()
    found = np.full((2, len(rows.labels), 3), np.nan, dtype=np.float32)
    with torch.no_grad():
        for part in by_length(held_out):
            orders, places = np.array(part).T
            found[orders, places] = logits(part).float().cpu().numpy()
    return list(found[:, held_out]), seconds


def log_loss(labels: FloatArray, logits: FloatArray) -> FloatArray:
    """Give the log loss of each row."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return np.asarray(-(labels * log_p).sum(axis=1))


def score(out: Path) -> None:
    """Print the log loss of what is complete, of one order and both, and write OOF logits."""
    from ensemble.evaluation.scores import scores

    rows = Rows(out)
    for name in sorted({p.name.split("-fold-")[0] for p in out.glob("*-fold-*.npz")}):
        parts = [np.load(p) for p in sorted(out.glob(f"{name}-fold-*.npz"))]
        places = np.concatenate([part["rows"] for part in parts])
        labels, clusters = rows.labels[places], rows.clusters[places]
        values = [np.concatenate([p[key] for p in parts]) for key in ("one_order", "logits")]
        losses = np.column_stack([log_loss(labels, each) for each in values])
        for label, one in zip(("one order", "both"), scores(losses, clusters), strict=True):
            told = f"{one.log_loss:.4f} [{one.low:.4f}, {one.high:.4f}]"
            print(f"{name}, {label}: {told} on {len(places):,} rows")
        every = np.full((len(rows.labels), 3), np.nan, dtype=np.float32)
        every[places] = values[1]
        np.save(out / f"{name}.npy", every)


def compare(out: Path) -> None:
    """Print how much lower the engine's log loss is than the plain loop's, row by row."""
    from ensemble.evaluation.bootstrap import bootstrap_means

    rows = Rows(out)
    gains, clusters = [], []
    for place in sorted(out.glob("plain-*.npz")):
        other = out / place.name.replace("plain", "engine")
        if not other.exists():
            continue
        plain, engine = np.load(place), np.load(other)
        labels = rows.labels[plain["rows"]]
        gains.append(log_loss(labels, plain["logits"]) - log_loss(labels, engine["logits"]))
        clusters.append(rows.clusters[plain["rows"]])
        print(f"{place.stem}: {gains[-1].mean():+.4f}")
    every = np.concatenate(gains)
    means = bootstrap_means(every[:, None], np.concatenate(clusters))
    low, high = np.quantile(means, (0.025, 0.975))
    print(f"the engine's log loss is lower by {every.mean():.4f} [{low:.4f}, {high:.4f}]")


def main() -> None:
    """Do what is asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    verbs = parser.add_subparsers(dest="verb", required=True)
    first = verbs.add_parser("prepare")
    first.add_argument("run", type=Path)
    first.add_argument("model")
    first.add_argument("out", type=Path)
    first.add_argument("--plugin", default="causal-lora")
    second = verbs.add_parser("fit")
    second.add_argument("out", type=Path)
    second.add_argument("model")
    second.add_argument("--seeds", type=int, nargs="+", default=[1])
    second.add_argument("--folds", type=int, nargs="*")
    second.add_argument("--plain", action="store_true")
    verbs.add_parser("score").add_argument("out", type=Path)
    verbs.add_parser("compare").add_argument("out", type=Path)
    asked = parser.parse_args()
    if asked.verb == "prepare":
        prepare(asked.run, asked.model, asked.out, asked.plugin)
    elif asked.verb == "fit":
        for seed in asked.seeds:
            fit(asked.out, asked.model, seed, asked.folds, plain=asked.plain)
    elif asked.verb == "score":
        score(asked.out)
    else:
        compare(asked.out)


if __name__ == "__main__":
    main()
