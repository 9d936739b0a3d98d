"""Real pretrained models on real battles: OOF log loss, on a machine that has only torch.

    python benchmarks/real_models.py prepare RUN MODEL OUT --plugin causal-lora   # needs polars
    python benchmarks/real_models.py fit OUT MODEL --seeds 1 2 3                # needs a GPU
    python benchmarks/real_models.py fit OUT MODEL --name fp8 --set train_precision=fp8
    python benchmarks/real_models.py fit OUT MODEL --name plain --plain --folds 0
    python benchmarks/real_models.py score OUT                # log losses, and OOF files
    python benchmarks/real_models.py compare OUT plain engine  # paired, battle by battle

``prepare`` takes battles and folds of a run (``ensemble prepare`` and ``ensemble split``) and
writes token ids; with ``--sources`` also those of its other sources. ``fit`` trains a model for
each fold under a name, with the engine or in a plain loop with transformers and PEFT, and keeps
what is done; ``--set`` changes settings of the engine by their names. ``--staged`` trains on the
other sources first, without clusters of the held-out fold. ``--teacher NAME`` distils from the
logits of ``NAME`` for each row of another fold, by fits without both folds (``--folds 0+1 0+2``).
``score`` prints log losses with 95% intervals over clusters, and writes OOF logits. ``compare``
prints the difference of two names on the folds and seeds that both have fitted, also of two
directories (rows of another length, other sources) whose folds are the same.
"""

from __future__ import annotations

import argparse
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from real_fits import Rows, fit

if TYPE_CHECKING:
    from numpy.typing import NDArray

    FloatArray = NDArray[Any]

LENGTH = 1536


def prepare(
    run: Path, model: str, out: Path, plugin: str, *, length: int = LENGTH, sources: bool = False
) -> None:
    """Write tokens of both orders, labels, clusters and folds (-1 where a row has none)."""
    import polars as pl

    from ensemble.battles.schema import LABEL_COLUMNS, learner_view
    from ensemble.plugin.manager import get_manager
    from ensemble.run_dir.tables import read_table

    plan = read_table(run / "folds.parquet").select("id", "cluster", pl.col("fold").fill_null(-1))
    battles = plan.join(read_table(run / "battles.parquet"), on="id", maintain_order="left")
    trained = (pl.col("fold") >= 0) | (sources & ~pl.col("is_test"))
    battles = battles.filter(trained, pl.col(LABEL_COLUMNS[0]).is_not_null())
    kind: Any = get_manager().base_learners.get(plugin)
    learner = kind(model=model, train_length=length)
    out.mkdir(parents=True, exist_ok=True)
    arrays: dict[str, Any] = {
        "labels": battles.select(LABEL_COLUMNS).to_numpy(),
        "clusters": battles["cluster"].to_numpy(),
        "folds": battles["fold"].to_numpy(),
    }
    for order in (0, 1):
        tokens = learner._tokens(learner_view(battles), length, swapped=bool(order))
        arrays[f"ids_{order}"] = np.concatenate([tokens.row(i) for i in range(len(tokens))])
        arrays[f"lengths_{order}"] = tokens.lengths
    np.savez_compressed(out / "rows.npz", **arrays)
    (out / "ids.txt").write_text("\n".join(battles["id"]) + "\n", encoding="utf-8")


def log_loss(labels: FloatArray, logits: FloatArray) -> FloatArray:
    """Give the log loss of each row."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return np.asarray(-(labels * log_p).sum(axis=1))


class Fits:
    """Stored fits of one name, without those of two folds."""

    def __init__(self, out: Path, name: str) -> None:
        found = sorted(p for p in out.glob(f"{name}-seed-*-fold-*.npz") if "+" not in p.name)
        self.parts = {p.stem.removeprefix(f"{name}-"): np.load(p) for p in found}

    def of_seed(self, seed: str) -> list[Any]:
        """Give the fits of one seed."""
        return [part for key, part in self.parts.items() if key.startswith(f"seed-{seed}-")]

    @property
    def seeds(self) -> list[str]:
        """The seeds that were fitted, some fold of each."""
        return sorted({key.split("-")[1] for key in self.parts})


def score(out: Path) -> None:
    """Print the log loss of what is complete, of one order and both, and write OOF logits."""
    rows = Rows(out)
    for name in sorted({p.name.split("-seed-")[0] for p in out.glob("*-seed-*-fold-*.npz")}):
        fits, whole = Fits(out, name), []
        for seed in fits.seeds:
            parts = fits.of_seed(seed)
            _tell(rows, f"{name}, seed {seed}, one order", parts, "one_order")
            _tell(rows, f"{name}, seed {seed}, both", parts, "logits")
            places = np.concatenate([part["rows"] for part in parts])
            if len(places) == (rows.folds >= 0).sum():
                order = np.argsort(places)
                whole.append(np.concatenate([part["logits"] for part in parts])[order])
                _write(out, f"{name}-seed-{seed}", whole[-1])
        if len(whole) > 1:
            mean = {"rows": np.flatnonzero(rows.folds >= 0), "logits": np.mean(whole, axis=0)}
            _tell(rows, f"{name}, mean logits of {len(whole)} seeds", [mean], "logits")
            _write(out, name, mean["logits"])


def _tell(rows: Rows, label: str, parts: list[Any], key: str) -> None:
    from ensemble.evaluation.scores import scores

    places = np.concatenate([part["rows"] for part in parts])
    logits = np.concatenate([part[key] for part in parts])
    losses = log_loss(rows.labels[places], logits)[:, None]
    (one,) = scores(losses, rows.clusters[places])
    told = f"{one.log_loss:.4f} [{one.low:.4f}, {one.high:.4f}]"
    measured = int(np.isfinite(losses).sum())
    print(f"{label}: {told} on {measured:,} of {len(places):,} rows")


def _write(out: Path, name: str, logits: FloatArray) -> None:
    import polars as pl

    rows = Rows(out)
    ids = np.array(_ids(out))[rows.folds >= 0]
    columns = dict(zip(("logit_a", "logit_b", "logit_tie"), logits.T, strict=True))
    pl.DataFrame({"id": ids.tolist(), **columns}).write_parquet(out / f"{name}.parquet")


def compare(out: Path, first: str, second: str, other: Path) -> None:
    """Print how much lower the second's log loss is than the first's, battle by battle."""
    from ensemble.evaluation.bootstrap import bootstrap_means

    clusters = dict(zip(_ids(out), Rows(out).clusters.tolist(), strict=True))
    ones, others = _measured(out, first), _measured(other, second)
    shared = sorted({*ones} & {*others})
    if not shared:
        print(f"{first} and {second} have fitted no fold and seed that are the same")
        return
    gains = [(each, ones[key][each] - others[key][each]) for key in shared for each in ones[key]]
    ids, values = zip(*gains, strict=True)
    of_rows = np.array([clusters[each] for each in ids])
    means = bootstrap_means(np.array(values)[:, None], of_rows)
    low, high = np.quantile(means, (0.025, 0.975))
    told = f"{np.mean(values):+.4f} [{low:+.4f}, {high:+.4f}]"
    print(f"{second} is better than {first} by {told}, {len(shared)} fits")


def _measured(out: Path, name: str) -> dict[str, dict[str, float]]:
    """Give losses of the fits that came to numbers, and name the others."""
    found = _losses(out, name)
    lost = [key for key, losses in found.items() if not np.isfinite([*losses.values()]).all()]
    if lost:
        print(f"{name} came to no number, and is left out: {', '.join(lost)}")
    return {key: losses for key, losses in found.items() if key not in lost}


def _losses(out: Path, name: str) -> dict[str, dict[str, float]]:
    """Give the log loss of each battle by its id, for each fit."""
    rows, ids = Rows(out), np.array(_ids(out))
    found = {}
    for key, part in Fits(out, name).parts.items():
        losses = log_loss(rows.labels[part["rows"]], part["logits"])
        found[key] = dict(zip(ids[part["rows"]].tolist(), losses.tolist(), strict=True))
    return found


def _ids(out: Path) -> list[str]:
    return (out / "ids.txt").read_text(encoding="utf-8").split()


def _settings(given: list[str]) -> dict[str, Any]:
    """Read ``key=value``, where the value is TOML, or text where it is none."""
    found: dict[str, Any] = {}
    for each in given:
        key, _, value = each.partition("=")
        try:
            found[key] = tomllib.loads(f"value = {value}")["value"]
        except tomllib.TOMLDecodeError:
            found[key] = value
    return found


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    verbs = parser.add_subparsers(dest="verb", required=True)
    first = verbs.add_parser("prepare")
    first.add_argument("run", type=Path)
    first.add_argument("model")
    first.add_argument("out", type=Path)
    first.add_argument("--plugin", default="causal-lora")
    first.add_argument("--length", type=int, default=LENGTH)
    first.add_argument("--sources", action="store_true")
    second = verbs.add_parser("fit")
    second.add_argument("out", type=Path)
    second.add_argument("model")
    second.add_argument("--name", default="engine")
    second.add_argument("--seeds", type=int, nargs="+", default=[1])
    second.add_argument("--folds", nargs="*", default=None)
    second.add_argument("--set", dest="changed", nargs="*", default=[])
    second.add_argument("--teacher")
    second.add_argument("--staged", action="store_true")
    second.add_argument("--plain", action="store_true")
    verbs.add_parser("score").add_argument("out", type=Path)
    third = verbs.add_parser("compare")
    third.add_argument("out", type=Path)
    third.add_argument("first")
    third.add_argument("second")
    third.add_argument("--other", type=Path, help="where the second is, if not in OUT")
    return parser


def main() -> None:
    """Do what is asked for."""
    asked = _parser().parse_args()
    if asked.verb == "prepare":
        options = {"length": asked.length, "sources": asked.sources}
        prepare(asked.run, asked.model, asked.out, asked.plugin, **options)
    elif asked.verb == "fit":
        for seed in asked.seeds:
            fit(
                asked.out,
                asked.model,
                seed,
                name=asked.name,
                folds=asked.folds,
                changed=_settings(asked.changed),
                teacher=asked.teacher,
                staged=asked.staged,
                plain=asked.plain,
            )
    elif asked.verb == "score":
        score(asked.out)
    else:
        compare(asked.out, asked.first, asked.second, asked.other or asked.out)


if __name__ == "__main__":
    main()
