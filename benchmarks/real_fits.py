"""The fits of ``real_models.py``: by the engine, and in a plain loop. Needs torch and no polars."""

from __future__ import annotations

import time
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from ensemble_plugins.language_model.text.tokens import Tokens

    FloatArray = NDArray[Any]
    Logits = tuple[list[FloatArray], float]

DEFAULTS: dict[str, Any] = {
    "rank": 16,
    "alpha": 32.0,
    "epochs": 2,
    "batch_size": 16,
    "swap_augmentation": True,
    "learning_rate": 2e-4,
    "head_learning_rate": 2e-4,
}
PART = 8
"""Rows that the plain loop computes at once: of about one length, which saves padding and changes
no gradient."""


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


@dataclass(frozen=True)
class Fit:
    """One fit: what is learned, what it is asked, and how.

    Parameters
    ----------
    learned, held_out, staged
        Rows of the stages of training and of prediction.
    changed
        Settings beside ``DEFAULTS``.
    teacher
        Logits of the learned rows to distil from, or None.
    """

    rows: Rows
    model: str
    seed: int
    learned: Any
    held_out: Any
    staged: Any
    changed: dict[str, Any]
    teacher: FloatArray | None

    def settings(self, kind: Any, **fixed: Any) -> Any:
        """Make settings of a kind of those that it knows."""
        known = {each.name for each in fields(kind)}
        chosen = {k: v for k, v in {**DEFAULTS, **self.changed}.items() if k in known}
        return kind(**fixed, **chosen)


def fit(
    out: Path,
    model: str,
    seed: int,
    *,
    name: str,
    folds: list[str] | None,
    changed: dict[str, Any],
    teacher: str | None,
    staged: bool,
    plain: bool,
) -> None:
    """Train and predict fold by fold; logits are the mean of both orders."""
    import torch

    rows = Rows(out)
    every = [str(fold) for fold in sorted({*rows.folds[rows.folds >= 0].tolist()})]
    for left_out in folds or every:
        place = out / f"{name}-seed-{seed}-fold-{left_out}.npz"
        if place.exists():
            continue
        asked = _fit_of(rows, [int(fold) for fold in left_out.split("+")], staged=staged)
        taught = _taught(out, rows, teacher, seed, left_out, asked[0]) if teacher else None
        one = Fit(rows, model, seed, *asked, changed, taught)
        began = time.perf_counter()
        logits, seconds = (_plain if plain else _engine)(one)
        torch.compiler.reset()  # another fold may have another width
        both = (logits[0] + logits[1][:, [1, 0, 2]]) / 2
        written = place.with_suffix(".part.npz")
        np.savez(written, rows=one.held_out, logits=both, one_order=logits[0], seconds=seconds)
        written.replace(place)
        whole = time.perf_counter() - began
        print(f"{place.stem}: {seconds:.1f} s of steps, {whole:.1f} s in all", flush=True)


def _fit_of(rows: Rows, left_out: list[int], *, staged: bool) -> tuple[Any, Any, Any]:
    held_out = np.isin(rows.folds, left_out)
    learned = ~held_out & (rows.folds >= 0)
    # The rule of every fold: no row of a cluster that the held-out rows have.
    other = (rows.folds < 0) & ~np.isin(rows.clusters, rows.clusters[held_out]) & staged
    return tuple(np.flatnonzero(each) for each in (learned, held_out, other))  # type: ignore[return-value]


def _taught(out: Path, rows: Rows, teacher: str, seed: int, fold: str, learned: Any) -> FloatArray:
    """Give teacher logits of each learned row, of a fit without its fold and the held-out one."""
    found: FloatArray = np.full((len(rows.labels), 3), np.nan, dtype=np.float32)
    for other in {*rows.folds[learned].tolist()}:
        pair = "+".join(sorted((fold, str(other))))
        stored = np.load(out / f"{teacher}-seed-{seed}-fold-{pair}.npz")
        mine = rows.folds[stored["rows"]] == other
        found[stored["rows"][mine]] = stored["logits"][mine]
    return np.asarray(found[learned])


def _engine(one: Fit) -> Logits:
    import torch

    from ensemble_plugins.language_model.model.inference import compute_logits
    from ensemble_plugins.language_model.model.loading import load_classifier
    from ensemble_plugins.language_model.settings import ModelSettings, TrainingSettings
    from ensemble_plugins.language_model.train.training import Training

    chosen = one.settings(ModelSettings, model=one.model)
    classifier = load_classifier(chosen, device=torch.device("cuda"), seed=one.seed)
    settings = one.settings(TrainingSettings)
    began = time.perf_counter()
    if len(one.staged):
        first = _labeled(one, one.staged, None, settings)
        Training(classifier, first, one.settings(TrainingSettings), seed=one.seed).run()
    given = _labeled(one, one.learned, one.teacher, settings)
    Training(classifier, given, settings, seed=one.seed).run()
    torch.cuda.synchronize()
    seconds = time.perf_counter() - began
    asked = (tokens.take(one.held_out) for tokens in one.rows.orders)
    return [compute_logits(classifier, tokens, 33792) for tokens in asked], seconds


def _labeled(one: Fit, places: Any, teacher: Any, settings: Any) -> Any:
    from ensemble_plugins.language_model.train.rows import LabeledRows

    orders = one.rows.orders[: 2 if settings.swap_augmentation else 1]
    return LabeledRows(
        tuple(tokens.take(places) for tokens in orders),
        one.rows.labels[places],
        np.ones(len(places)),
        one.rows.clusters[places],
        teacher=teacher,
    )


class _PlainModel:
    """A sequence classifier of transformers, with adapters of PEFT unless all of it is trained."""

    def __init__(self, one: Fit) -> None:
        import torch
        from peft import LoraConfig, get_peft_model
        from transformers import AutoModelForSequenceClassification

        torch.manual_seed(one.seed)
        chosen = {**DEFAULTS, **one.changed}
        full = chosen.get("tuning") == "full"
        dtype = torch.float32 if full else torch.bfloat16
        base: Any = AutoModelForSequenceClassification.from_pretrained(
            one.model, num_labels=3, dtype=dtype
        ).to("cuda")
        self.causal = hasattr(base, "score")
        self.orders = one.rows.orders
        options: Any = {"r": chosen["rank"], "lora_alpha": chosen["alpha"]}
        options |= {"target_modules": "all-linear", "task_type": "SEQ_CLS"}
        self.model: Any = base if full else get_peft_model(base, LoraConfig(**options))
        self.trained = [p for p in self.model.parameters() if p.requires_grad]
        for parameter in self.trained:
            parameter.data = parameter.data.float()

    def logits(self, items: Any) -> Any:
        """Compute the logits of pairs of order and row, padded to the longest."""
        import torch

        parts = [torch.from_numpy(self.orders[o].row(int(i)).astype(np.int64)) for o, i in items]
        pad = torch.nn.utils.rnn.pad_sequence
        mask = pad([torch.ones_like(part) for part in parts], batch_first=True).to("cuda")
        ids = pad(parts, batch_first=True, padding_value=0).to("cuda")
        with torch.autocast("cuda", torch.bfloat16):
            if not self.causal:
                return self.model(input_ids=ids, attention_mask=mask).logits.float()
            # Id 0 may stand in a row too, so the last token is found by the mask.
            hidden = self._inner.model(input_ids=ids, attention_mask=mask)[0]
        last = mask.sum(dim=1) - 1
        return self._inner.score(hidden[torch.arange(len(ids)), last].float())

    @property
    def _inner(self) -> Any:
        return getattr(self.model, "base_model", self.model).model


def _plain(one: Fit) -> Logits:
    import torch
    from transformers import get_cosine_schedule_with_warmup

    plain, rows, chosen = _PlainModel(one), one.rows, {**DEFAULTS, **one.changed}

    def by_length(battles: Any) -> list[Any]:
        """Divide rows in both orders among parts of about one length."""
        items = [(order, int(row)) for row in battles for order in (0, 1)]
        items.sort(key=lambda item: rows.orders[item[0]].lengths[item[1]])
        return [items[start : start + PART] for start in range(0, len(items), PART)]

    per_epoch = -(-len(one.learned) // chosen["batch_size"])
    steps = chosen["epochs"] * per_epoch
    rate = chosen["learning_rate"]
    optimizer = torch.optim.AdamW(plain.trained, lr=rate, weight_decay=0.01, fused=True)
    schedule = get_cosine_schedule_with_warmup(optimizer, steps // 10, steps)
    draw, began = np.random.default_rng(one.seed), time.perf_counter()
    plain.model.train()
    for _ in range(chosen["epochs"]):
        for batch in np.array_split(draw.permutation(one.learned), per_epoch):
            for part in by_length(batch):
                labels = [
                    rows.labels[row][[1, 0, 2] if order else [0, 1, 2]] for order, row in part
                ]
                wanted = torch.from_numpy(np.array(labels, dtype=np.float32)).to("cuda")
                losses = torch.nn.functional.cross_entropy(
                    plain.logits(part), wanted, reduction="sum"
                )
                (losses / (2 * len(batch))).backward()
            torch.nn.utils.clip_grad_norm_(plain.trained, 1.0)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
    torch.cuda.synchronize()
    seconds = time.perf_counter() - began
    plain.model.eval()
    found = np.full((2, len(rows.labels), 3), np.nan, dtype=np.float32)
    with torch.no_grad():
        for part in by_length(one.held_out):
            orders, places = np.array(part).T
            found[orders, places] = plain.logits(part).float().cpu().numpy()
    return list(found[:, one.held_out]), seconds
