from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("peft")

import torch

from ensemble import errors
from ensemble_plugins.language_model.model import classifier as model_module
from ensemble_plugins.language_model.model.kernels import PLAIN
from ensemble_plugins.language_model.train import losses as losses_module
from ensemble_plugins.language_model.train import training as training_module
from ensemble_plugins.language_model.train.training import Training

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ensemble_plugins.language_model.model.classifier import Classifier
    from ensemble_plugins.language_model.train.rows import LabeledRows

tiny = importlib.import_module("tests.plugins.language_model.tiny_training")

# What transformers does where it defines DeBERTa.
pytestmark = pytest.mark.filterwarnings(
    "ignore:`torch.jit.script` is deprecated:DeprecationWarning"
)


def _train(classifier: Classifier, rows: LabeledRows, seed: int = 1, **changes: Any) -> Training:
    training = Training(classifier, rows, tiny.settings(**changes), seed=seed)
    training.run()
    return training


@pytest.mark.slow
@pytest.mark.parametrize(
    ("family", "tuning", "rate"),
    [("gemma2", "lora", 1e-2), ("llama3", "full", 3e-3), ("deberta", "full", 3e-3)],
)
def test_the_loss_falls(
    checkpoint: Callable[[str], Path], family: str, tuning: str, rate: float
) -> None:
    classifier, rows = tiny.load(checkpoint(family), tuning=tuning), tiny.labeled_rows(30)
    before = tiny.mean_loss(classifier, rows)
    _train(classifier, rows, epochs=12, learning_rate=rate, token_budget=300)
    assert not classifier.model.training
    assert tiny.mean_loss(classifier, rows) < 0.5 * before


def test_frozen_weights_stay_and_all_trained_ones_move(checkpoint: Callable[[str], Path]) -> None:
    classifier = tiny.load(checkpoint("gemma2"))
    frozen, trained = tiny.weights(classifier, trained=False), tiny.weights(classifier)
    _train(classifier, tiny.labeled_rows(), weight_decay=0.1)
    assert tiny.same(tiny.weights(classifier, trained=False), frozen)
    assert {name.split(".")[-3] for name in trained} == {"lora_A", "lora_B", "modules_to_save"}
    after = tiny.weights(classifier)
    assert [name for name in trained if torch.equal(after[name], trained[name])] == []


@pytest.mark.slow
@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_the_same_seed_gives_the_same_weights(
    checkpoint: Callable[[str], Path], dropout: float
) -> None:
    ends: list[Any] = []
    for seed in (1, 1, 2):
        classifier = tiny.load(checkpoint("llama3"), dropout=dropout)
        torch.manual_seed(len(ends))  # what was drawn before does not count
        _train(classifier, tiny.labeled_rows(), seed)
        ends.append(tiny.weights(classifier))
    assert tiny.same(ends[0], ends[1])
    assert not tiny.same(ends[0], ends[2])


def test_dropout_counts_while_training(checkpoint: Callable[[str], Path]) -> None:
    ends = []
    for dropout in (0.2, 0.6):  # both by the same layers
        classifier = tiny.load(checkpoint("llama3"), dropout=dropout)
        _train(classifier, tiny.labeled_rows())
        ends.append(tiny.weights(classifier))
    assert not tiny.same(ends[0], ends[1])


@pytest.mark.parametrize("max_grad_norm", [0.0, 0.05])
def test_steps_are_clipped_and_follow_the_schedule(
    checkpoint: Callable[[str], Path], max_grad_norm: float
) -> None:
    classifier = tiny.load(checkpoint("llama3"))
    chosen = tiny.settings(max_grad_norm=max_grad_norm, schedule="linear", learning_rate=0.01)
    training = Training(classifier, tiny.labeled_rows(), chosen, seed=1)
    norms, rates = [], []

    def look(optimizer: Any, *_: object) -> None:
        gradients = [p.grad for p in training.trained.values() if p.grad is not None]
        norms.append(float(torch.nn.utils.get_total_norm(gradients)))
        rates.append(optimizer.param_groups[0]["lr"])

    training.optimizer.register_step_pre_hook(look)
    training.run()
    assert (max(norms) <= 0.05 * 1.001) is (max_grad_norm > 0)
    total = len(training.steps)
    assert rates == pytest.approx([0.01 * (1 - step / total) for step in range(total)])


@pytest.mark.slow
def test_activation_checkpointing_changes_no_weight(checkpoint: Callable[[str], Path]) -> None:
    for family, tuning in (("gemma2", "lora"), ("deberta", "full")):
        ends: list[Any] = []
        for chosen in (False, True):
            classifier = tiny.load(checkpoint(family), tuning=tuning)
            _train(classifier, tiny.labeled_rows(), epochs=1, activation_checkpointing=chosen)
            ends.append(tiny.weights(classifier))
        for name, weight in ends[0].items():
            torch.testing.assert_close(ends[1][name], weight, rtol=1e-4, atol=1e-5)


def _gradient_of_items_alone(classifier: Classifier, rows: Any) -> dict[str, torch.Tensor]:
    """Compute every row of every order by itself, and the loss by torch's own cross-entropy."""
    total = torch.zeros(())
    for swapped, tokens in enumerate(rows.orders):
        labels = rows.labels[:, [1, 0, 2]] if swapped else rows.labels
        for i in range(len(rows)):
            logits = classifier.logits(classifier.batch(tokens, np.array([i])))
            wanted = torch.tensor(labels[i : i + 1], dtype=torch.float32)
            loss = torch.nn.functional.cross_entropy(logits, wanted)
            total = total + loss * float(rows.weight[i] / rows.weight.mean())
    (total / (len(rows) * len(rows.orders))).backward()
    trained = [(n, p) for n, p in classifier.model.named_parameters() if p.requires_grad]
    found = {n: p.grad.clone() for n, p in trained if p.grad is not None}
    classifier.model.zero_grad()
    return found


@pytest.mark.slow
@pytest.mark.parametrize("family", ["gemma2", "deberta"])
def test_a_steps_gradient_is_the_same_for_every_token_budget(
    checkpoint: Callable[[str], Path], family: str
) -> None:
    classifier = tiny.load(checkpoint(family))
    rows = tiny.labeled_rows(8, orders=2)
    wanted = _gradient_of_items_alone(classifier, rows)
    counts = set()

    @settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
    @given(budget=st.integers(1, 300))
    @example(budget=1)
    @example(budget=70)
    @example(budget=300)
    def check(budget: int) -> None:
        chosen = tiny.settings(batch_size=8, token_budget=budget, swap_augmentation=True)
        training = Training(classifier, rows, chosen, seed=budget)
        classifier.model.eval()  # no dropout: it would differ with the order of packs
        (step,) = training.steps[:1]
        counts.add(len(step))
        found = tiny.gradients(training, step)
        assert found.keys() == wanted.keys()
        for name, gradient in wanted.items():
            torch.testing.assert_close(found[name], gradient, rtol=1e-3, atol=1e-5)

    check()
    assert len(counts) > 2


def test_both_orders_of_a_battle_are_in_one_step_with_swapped_labels(
    checkpoint: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    classifier, rows = tiny.load(checkpoint("llama3")), tiny.labeled_rows(12, orders=2)
    training = Training(classifier, rows, tiny.settings(batch_size=4), seed=1)
    seen: list[tuple[int, list[float]]] = []
    batches: list[Any] = []
    tiny.before_each_batch(classifier, batches.append)
    plain = losses_module.row_losses

    def losses(logits: torch.Tensor, labels: Any, *rest: Any, **options: Any) -> Any:
        seen.extend(zip(batches[-1].tolist(), labels.tolist(), strict=True))
        return plain(logits, labels, *rest, **options)

    monkeypatch.setattr(training_module, "row_losses", losses)
    for step in training.steps:
        seen.clear()
        training._step(step)
        labels = dict(seen)
        assert len(labels) == len(seen)
        battles = sorted(item for item in labels if item < 12)
        assert sorted(labels) == battles + [battle + 12 for battle in battles]
        for battle in battles:
            np.testing.assert_allclose(labels[battle], rows.labels[battle], rtol=1e-6)
            np.testing.assert_allclose(labels[battle + 12], rows.labels[battle][[1, 0, 2]])
    for battle in range(12):
        for order, tokens in enumerate(rows.orders):
            item = training.items.tokens.row(battle + 12 * order)
            assert item.tolist() == tokens.row(battle).tolist()


@pytest.mark.parametrize(("family", "orders"), [("llama3", 2), ("deberta", 1)])
def test_every_battle_is_seen_once_an_epoch(
    checkpoint: Callable[[str], Path], family: str, orders: int
) -> None:
    classifier, rows = tiny.load(checkpoint(family)), tiny.labeled_rows(20, orders=orders)
    seen: list[int] = []
    tiny.before_each_batch(classifier, lambda items: seen.extend(items.tolist()))
    training = _train(classifier, rows, epochs=3, learning_rate=0.0)
    assert sorted(seen) == sorted(list(range(20 * orders)) * 3)
    assert sorted(seen[: 20 * orders]) == list(range(20 * orders))
    assert len({tuple(seen[i : i + 20]) for i in range(0, len(seen), 20 * orders)}) == 3
    assert training.progress.step == len(training.steps)


@pytest.mark.parametrize("family", ["llama3", "deberta"])
def test_memory_that_runs_out_halves_the_budget_and_changes_no_gradient(
    checkpoint: Callable[[str], Path], family: str
) -> None:
    classifier = tiny.load(checkpoint(family))
    rows = tiny.labeled_rows(12, lengths=(150, 250))
    chosen = tiny.settings(batch_size=12, token_budget=1100)
    training = Training(classifier, rows, chosen, seed=1)
    classifier.model.eval()
    (step,) = training.steps[:1]
    wanted = tiny.gradients(training, step)
    batches: list[Any] = []

    def fail_at_the_second(items: Any) -> None:
        batches.append(items)
        if len(batches) == 2:  # the first has left its gradient
            raise torch.OutOfMemoryError("CUDA out of memory")

    tiny.before_each_batch(classifier, fail_at_the_second)
    found = tiny.gradients(training, step)
    assert training.token_budget == 550
    for name, gradient in wanted.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-3, atol=1e-5)
    batches[:] = batches[:2]
    tiny.gradients(training, step)  # the budget stays halved
    assert max(training.items.tokens.lengths[items].sum() for items in batches[2:]) <= 550


def test_a_battle_that_never_fits_into_memory_is_an_error(
    checkpoint: Callable[[str], Path],
) -> None:
    classifier = tiny.load(checkpoint("llama3"))
    rows = tiny.labeled_rows(8, lengths=(150, 250))
    training = Training(classifier, rows, tiny.settings(token_budget=2000), seed=1)
    _limit_memory(classifier, training, 100)
    with pytest.raises(
        errors.LearnerError, match="out of memory with packs of .* tokens"
    ) as caught:
        training.run()
    assert "activation_checkpointing" in str(caught.value.hint)


def _limit_memory(classifier: Classifier, training: Training, tokens: int) -> None:
    """Let the last pack of a step that is too large fail: by then others have left gradients."""

    def check(items: Any) -> None:
        if training.items.tokens.lengths[items].sum() > tokens:
            raise torch.OutOfMemoryError("CUDA out of memory")

    tiny.before_each_batch(classifier, check)


def test_a_loss_that_is_not_finite_is_an_error(checkpoint: Callable[[str], Path]) -> None:
    classifier = tiny.load(checkpoint("llama3"))
    rows = tiny.labeled_rows()
    rows.labels[3] = np.nan
    with pytest.raises(errors.LearnerError, match=r"the loss is nan at step \d+"):
        _train(classifier, rows)


def test_no_rows_are_an_error(checkpoint: Callable[[str], Path]) -> None:
    none = tiny.labeled_rows().take(np.array([], dtype=np.int64))
    with pytest.raises(errors.LearnerError, match="there are no battles to learn from"):
        _train(tiny.load(checkpoint("llama3")), none)


def test_progress_is_told_to_the_end(checkpoint: Callable[[str], Path]) -> None:
    told: list[tuple[float, str]] = []
    chosen = tiny.settings(epochs=8)
    classifier = tiny.load(checkpoint("llama3"))
    Training(
        classifier,
        tiny.labeled_rows(),
        chosen,
        seed=1,
        progress=lambda done, message: told.append((done, message)),
    ).run()
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    assert told[-1][0] == 1.0
    assert told[-1][1].startswith("loss ")


@pytest.mark.slow
def test_distillation_needs_a_teacher_and_follows_it(checkpoint: Callable[[str], Path]) -> None:
    classifier, rows = tiny.load(checkpoint("llama3")), tiny.labeled_rows(orders=2)
    chosen: dict[str, Any] = {
        "distillation": 1.0,
        "temperature": 2.0,
        "epochs": 15,
        "token_budget": 400,
    }
    with pytest.raises(errors.LearnerError, match="distillation needs the teacher's logits"):
        _train(classifier, rows, **chosen)
    opposite = np.log(rows.labels[:, [2, 1, 0]]).astype(np.float32)
    taught = tiny.labeled_rows(orders=2, teacher=opposite)
    _train(classifier, taught, **chosen)
    assert tiny.mean_loss(classifier, rows) > 1.5
    learned = tiny.labeled_rows(labels=rows.labels[:, [2, 1, 0]])
    assert tiny.mean_loss(classifier, learned) < 0.6


def test_each_pack_asks_for_the_kernel_of_what_is_done_with_it(
    checkpoint: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[int, bool]] = []

    def prepare(_device: Any, head_size: int, _activations: Any, *, training: bool) -> Any:
        asked.append((head_size, training))
        return PLAIN

    monkeypatch.setattr(model_module, "prepare_kernel", prepare)
    classifier = tiny.load(checkpoint("gemma2"))
    size = classifier.base.config.head_dim
    rows, wide = tiny.labeled_rows(12), {"token_budget": 4000, "batch_size": 4}
    _train(
        classifier,
        rows,
        epochs=1,
        early_stopping=True,
        patience=9,
        evaluations=1,
        validation_fraction=0.4,
        **wide,
    )
    trained = (size, True)
    assert set(asked) == {trained, (size, False)}
    # An evaluation leaves the model ready for prediction, and the next step takes it back.
    assert asked[0] == trained
    asked.clear()
    _train(
        classifier,
        rows,
        epochs=2,
        early_stopping=True,
        patience=9,
        evaluations=1,
        validation_fraction=0.4,
        **wide,
    )
    between = [asked[at + 1] for at, kernel in enumerate(asked[:-1]) if kernel[1] is False]
    assert trained in between


def test_padded_parts_are_planned_by_what_they_are_padded_to(
    checkpoint: Callable[[str], Path],
) -> None:
    classifier = tiny.load(checkpoint("deberta"), tuning="full")
    classifier.multiple = 16
    rows = tiny.labeled_rows(30, lengths=(5, 60))
    training = Training(
        classifier, rows, tiny.settings(epochs=1, batch_size=30, token_budget=200), seed=0
    )
    shapes: list[tuple[int, int]] = []
    compute = classifier.logits

    def logits(batch: Any) -> Any:
        shapes.append(tuple(batch.ids.shape))
        return compute(batch)

    classifier.logits = logits
    training.run()
    assert len(shapes) > 2
    assert all(width % 16 == 0 and count * width <= 200 for count, width in shapes)
