"""The soup of a learner: one model, the mean of the models of its folds (Wortsman et al., 2022).

Together the folds' models have seen every row that folds are made of, so that a soup predicts rows
that no fold holds out, as a refit does: the test set, the hold-out, new rows. It has no OOF logits.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field, replace
from time import perf_counter
from typing import TYPE_CHECKING, Any

import polars as pl

from ensemble.battles.held_out import SOUP, HeldOut, model_fits
from ensemble.battles.schema import learner_view
from ensemble.errors import ArtifactError, ConfigError
from ensemble.oof.calls import predict_validated
from ensemble.oof.checkpoints import checkpoint_directory
from ensemble.oof.fitting import SeedFit
from ensemble.oof.fold_key import fold_key
from ensemble.oof.models import mean_logits, seed_name
from ensemble.oof.origins import complete_origin, model_origin
from ensemble.oof.predictions import read_logits
from ensemble.oof.rows import FoldRows, no_rows
from ensemble.oof.seeds import fit_seeds
from ensemble.oof.soup_check import check_soup
from ensemble.plugin.base import FitContext
from ensemble.plugin.faults import call_plugin
from ensemble.plugin.manager import get_manager
from ensemble.run_dir.layout import MODEL, TEST, TRAIN_IDS
from ensemble.run_dir.tables import read_table, write_table
from ensemble.storage.atomic import make_directory
from ensemble.storage.directories import atomic_directory

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from ensemble.oof.kept_fit import KeptFit
    from ensemble.oof.spec import LearnerSpec
    from ensemble.oof.store import FoldStore
    from ensemble.oof.workspace import Workspace
    from ensemble.plugin.base import BaseLearner, LogitArray
    from ensemble.run_dir.soup_record import SoupCheck

METHOD = "average_models"
"""What a learner's class has whose models can be averaged."""


def refuse_unaveraged(spec: LearnerSpec) -> None:
    """Refuse a soup to a learner whose models cannot be averaged.

    Raises
    ------
    ConfigError
        Its class has no such method.
    """
    if not callable(getattr(type(spec.prototype), METHOD, None)):
        raise ConfigError(
            f'models = "soup" averages weights, and plugin "{spec.plugin_name}" cannot: it has no '
            f"method {METHOD}",
            where=f'learner "{spec.name}"',
            hint='set models = "folds" in its [[learners]] table; others can still be a soup',
        )


def make_soup(
    workspace: Workspace,
    spec: LearnerSpec,
    key: str,
    parts: dict[str, Any],
    progress: Callable[..., None] | None = None,
) -> None:
    """Average the models of a learner's folds, predict with it, check it, and store it all.

    Parameters
    ----------
    workspace
        The run's battles and plan.
    spec
        The learner; all of its folds are fitted.
    key, parts
        Of ``fold_key``.
    progress
        ``progress(done, message)``.

    Raises
    ------
    ConfigError
        The learner's models cannot be averaged.
    ArtifactError
        A fold is missing, damaged, or was made with other settings.
    LearnerError
        The learner raised; or the folds' models are too far apart to be averaged.
    """
    refuse_unaveraged(spec)
    _SoupJob(workspace, spec, key, parts).run(progress)


def averaged_logits(store: FoldStore, spec: LearnerSpec, battles: pl.DataFrame) -> LogitArray:
    """Average the models of a learner's folds once more, and predict: ``(n, 3)``.

    Parameters
    ----------
    store
        Where the folds are; they are read and verified.
    spec
        The learner.
    battles
        What is predicted.

    Raises
    ------
    ArtifactError
        A fold is missing, damaged, or of another plan.
    LearnerError
        The learner raised.
    """
    where = f'learner "{spec.name}", averaged once more'
    folds = model_fits("folds", store.n_splits)
    for fold in folds:
        store.read(spec.name, fold)
    each = []
    for seed in range(spec.seeds):
        learner: Any = spec.make()
        directories = [_model(store, spec, fold, seed) for fold in folds]
        _call_average(learner, directories, where)
        each.append(predict_validated(learner, battles, where))
    return mean_logits(each)


def _model(store: FoldStore, spec: LearnerSpec, fold: HeldOut, seed: int) -> Path:
    model = store.directory(spec.name, fold) / MODEL
    return model / seed_name(seed) if spec.seeds > 1 else model


def _call_average(learner: Any, directories: Sequence[Path], where: str) -> None:
    call_plugin(METHOD, where, lambda: learner.average_models(list(directories)))


@dataclass(frozen=True)
class _SoupJob:
    workspace: Workspace
    spec: LearnerSpec
    key: str
    parts: dict[str, Any]

    @property
    def where(self) -> str:
        return f'learner "{self.spec.name}" (plugin "{self.spec.plugin_name}"), {SOUP.label}'

    def run(self, progress: Callable[..., None] | None) -> None:
        folds = self._folds()
        origins = {fold.name: self._origin(fold) for fold in folds}
        directory = self._directory(SOUP)
        checkpoint = checkpoint_directory(self.workspace.run, self.spec.name, SOUP.name, self.key)
        # Seeds of a former soup are of other models: they are kept under the key of this one alone.
        shutil.rmtree(checkpoint, ignore_errors=True)
        make_directory(checkpoint)
        manifest: dict[str, Any] = {}
        with atomic_directory(directory, manifest) as place:
            rows = _asked_rows(self.workspace)
            facts = self._average(folds, rows, place, checkpoint, progress)
            check = self._check(folds, rows, place)
            trained = self._trained(folds)
            write_table(place / TRAIN_IDS, trained)
            manifest.update(self._manifest(rows, trained, origins), **facts)
            manifest.update(checkpoint=checkpoint.name, check=check.model_dump())
            manifest["doubts"] = self._doubts(folds)
        shutil.rmtree(checkpoint, ignore_errors=True)

    def _folds(self) -> list[HeldOut]:
        return model_fits("folds", self.workspace.plan.n_splits)

    def _directory(self, fold: HeldOut) -> Path:
        return self.workspace.store.directory(self.spec.name, fold)

    def _origin(self, fold: HeldOut) -> dict[str, str]:
        """Name a fold's model, which is there and is the config's."""
        key, _ = fold_key(self.spec, fold, self.workspace.shared_key())
        if complete_origin(self._directory(fold), key) is None:
            raise ArtifactError(
                f"{fold.label} is missing, damaged or was made with other settings",
                where=self.where,
                hint="run `ensemble fit CONFIG`: folds come before their soup",
            )
        return model_origin(self.workspace.store.read(self.spec.name, fold))

    def _average(
        self,
        folds: Sequence[HeldOut],
        rows: FoldRows,
        place: Path,
        checkpoint: Path,
        progress: Callable[..., None] | None,
    ) -> Mapping[str, Any]:
        """Fill a directory with the soup of each seed, and the mean of their logits."""
        seeds = list(range(self.spec.seeds))
        store = self.workspace.store
        models = {s: [_model(store, self.spec, fold, s) for fold in folds] for s in seeds}
        fit = _SoupFit(self.spec, self.where, rows, [], self.key, models=models)
        context = FitContext(device=self.workspace.device, threads=self.workspace.threads)
        context = replace(context, progress=progress) if progress else context
        return fit_seeds(fit, place, context, seeds, checkpoint)

    def _check(self, folds: Sequence[HeldOut], rows: FoldRows, place: Path) -> SoupCheck:
        of, asked = ("test", rows.test) if len(rows.test) else ("hold-out", rows.holdout)
        store = self.workspace.store
        each = [
            store.task_logits(read_logits(path / TEST, asked["id"]))
            for path in (place, *map(self._directory, folds))
        ]
        return check_soup(each[0], each[1:], of=of, where=self.where)

    def _doubts(self, folds: Sequence[HeldOut]) -> list[str]:
        """Give the doubts of the folds' fits: a soup knows what their models know."""
        manifests = (self.workspace.store.read(self.spec.name, fold) for fold in folds)
        return list(dict.fromkeys(text for one in manifests for text in one["doubts"]))

    def _trained(self, folds: Sequence[HeldOut]) -> pl.DataFrame:
        """Give the rows that any of the folds' models was trained on."""
        tables = [read_table(self._directory(fold) / TRAIN_IDS) for fold in folds]
        return pl.concat(tables).unique().sort("stage", "id")

    def _manifest(
        self, rows: FoldRows, trained: pl.DataFrame, origins: Mapping[str, Mapping[str, str]]
    ) -> dict[str, Any]:
        entry = get_manager().base_learners.entry(self.spec.plugin)
        own = self.workspace.store.read(self.spec.name, 0)
        stages = dict(trained["stage"].value_counts().iter_rows())
        same = ("plugin", "plugin_version", "plugin_source", "parameters", "training_rows")
        return {
            "learner": self.spec.name,
            **{name: own[name] for name in (*same, "pretrain")},
            "distribution": entry.distribution,
            "fold": SOUP.to_json(),
            "models": origins,
            "seed": self.workspace.seed,
            "seeds": self.spec.seeds,
            "plan": self.workspace.plan.fingerprint,
            "data": self.workspace.data_key,
            "key": self.key,
            "key_parts": self.parts,
            "rows": {
                "train": stages.get("train", 0),
                "pretrain": stages.get("pretrain", 0),
                "held_out": 0,
                "test": len(rows.test),
            },
        }


def _asked_rows(workspace: Workspace) -> FoldRows:
    """Give the rows that a soup predicts; it learns from none."""
    test, kept = (learner_view(one) for one in (workspace.test_rows(), workspace.holdout_rows()))
    return FoldRows(no_rows(), no_rows(), test.clear(), test, kept)


@dataclass(frozen=True)
class _SoupFit(SeedFit):
    """Averages models in the place of a fit; the seed of its context is a number of a seed.

    Parameters
    ----------
    models
        Directories of the folds' models, by the number of the seed.
    """

    models: Mapping[int, Sequence[Path]] = field(default_factory=dict)

    def _fitted(self, context: FitContext, kept: KeptFit | None) -> tuple[BaseLearner, float]:  # noqa: ARG002
        learner: Any = self.spec.make()
        clock = perf_counter()
        _call_average(learner, self.models[context.seed], self.where)
        return learner, perf_counter() - clock
