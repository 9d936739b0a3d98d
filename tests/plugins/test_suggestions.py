"""What the built-in learners suggest for data and machines."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from ensemble.plugin.suggestion import DataSummary, Gpu, Machine, RowTable, Suggestion
from ensemble_plugins.causal_lora import CausalLora
from ensemble_plugins.deberta import Deberta
from ensemble_plugins.gemma2_lora import Gemma2Lora
from ensemble_plugins.handcrafted import Handcrafted
from ensemble_plugins.language_model import advice
from ensemble_plugins.language_model.learner import LanguageModel
from ensemble_plugins.llama3_lora import Llama3Lora
from ensemble_plugins.precomputed import Precomputed
from ensemble_plugins.proxy import Proxy
from ensemble_plugins.tfidf import Tfidf

IDS = pl.Series("id", [str(i) for i in range(1000)])
TEST_IDS = pl.Series("id", ["t1", "t2"])
NONE = IDS.clear()
DATA = DataSummary(IDS, NONE, tokens=(100, 300, 3000))
FAMILIES: list[type[LanguageModel]] = [Gemma2Lora, Llama3Lora, Deberta]
MEASURED = [*FAMILIES, CausalLora]
T4 = Gpu("Tesla T4", 15.0, (7, 5))
H100 = Gpu("NVIDIA H100 80GB HBM3", 79.6, (9, 0))


def of(kind: Any, machine: Machine, data: DataSummary = DATA) -> Suggestion:
    (found,) = kind.suggest(data, machine)
    assert isinstance(found, Suggestion)
    return found


@pytest.fixture
def weights_are_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(advice, "_missing", lambda *_: None)


def test_cheap_learners_fit_every_machine_and_take_longer_with_more_rows() -> None:
    more = DataSummary(pl.concat([IDS, IDS]), NONE, tokens=DATA.tokens)
    for kind in (Handcrafted, Tfidf):
        few, many = of(kind, Machine(1)).minutes, of(kind, Machine(1), more).minutes
        both = of(kind, Machine(2)).minutes
        assert few is not None
        assert many == pytest.approx(2 * few)
        assert both == pytest.approx(few / 2)
        assert of(kind, Machine(1)).unfit is None
    # 1,000 battles: 10 times as many rows in folds and pairs of folds, 3.5 ms each.
    assert of(Handcrafted, Machine(1)).minutes == pytest.approx(10_000 * 3.5e-3 / 60)
    assert not Proxy.suggest(DATA, Machine(1))


def test_rows_that_a_learner_does_not_learn_from_take_no_time() -> None:
    more = DataSummary(IDS, NONE, tokens=DATA.tokens, pretrain_rows=1000)
    assert of(Tfidf, Machine(1), more).minutes == of(Tfidf, Machine(1)).minutes
    assert of(Handcrafted, Machine(1), more).minutes == pytest.approx(25_000 * 3.5e-3 / 60)


def test_few_prompts_get_few_models() -> None:
    few = DataSummary(IDS[:6], NONE, tokens=DATA.tokens, prompts=6, n_splits=2)
    assert of(Handcrafted, Machine(1), few).parameters == {"n_models": 2}
    many = DataSummary(IDS, NONE, tokens=DATA.tokens, prompts=500)
    assert of(Handcrafted, Machine(1), many).parameters == {}


@pytest.mark.parametrize("kind", FAMILIES)
def test_language_models_do_not_fit_a_machine_without_a_gpu(kind: type[LanguageModel]) -> None:
    found = of(kind, Machine(64, 500.0))
    assert found.unfit == "no GPU, and on CPU cores it would take days"
    assert found.minutes is None


def test_a_small_model_takes_hours_without_a_gpu() -> None:
    assert of(CausalLora, Machine(64, 500.0)).unfit == (
        "no GPU, and on CPU cores it would take hours"
    )


@pytest.mark.usefixtures("weights_are_here")
def test_a_small_model_is_suggested_as_it_was_measured_on_any_card() -> None:
    data = DataSummary(IDS, NONE, tokens=(900,))
    for card in (T4, H100):
        found = of(CausalLora, Machine(8, gpus=(card,)), data)
        assert found.unfit is None
        learner = CausalLora(**found.parameters)
        assert (learner.epochs, learner.swap_augmentation, learner.bits) == (2, True, 16)
        assert "SmolLM2-135M" in str(learner.model)
    # Two epochs of both orders of four folds' worth of rows, and both orders predicted.
    assert found.minutes == pytest.approx((4 * 4000 + 2 * 1000) / 532.0 / 60)


@pytest.mark.usefixtures("weights_are_here")
@pytest.mark.parametrize(
    ("gib", "expected"),
    [
        (79.6, {}),
        (40.0, {"activation_checkpointing": True}),
        (24.0, {"bits": 8, "activation_checkpointing": True, "token_budget": 4224}),
        (15.0, {"bits": 4, "activation_checkpointing": True, "token_budget": 2048}),
    ],
)
def test_precision_and_packs_are_chosen_by_memory(gib: float, expected: dict[str, Any]) -> None:
    found = of(Gemma2Lora, Machine(8, gpus=(Gpu("NVIDIA H100", gib, (9, 0)),)))
    keys = ("bits", "activation_checkpointing", "token_budget")
    assert {k: v for k, v in found.parameters.items() if k in keys} == expected
    assert found.unfit is None


@pytest.mark.usefixtures("weights_are_here")
@pytest.mark.parametrize("kind", MEASURED)
@pytest.mark.parametrize("gib", [8.0, 12.0, 15.0, 24.0, 40.0, 79.6, 180.0])
def test_what_is_suggested_is_what_a_learner_takes(kind: type[LanguageModel], gib: float) -> None:
    found = of(kind, Machine(8, gpus=(Gpu("NVIDIA H200", gib, (9, 0)),)))
    learner = kind(**found.parameters)
    budget = learner.token_budget
    assert budget == "auto" or learner.train_length <= budget
    assert learner.predict_length <= learner.predict_token_budget
    assert set(found.comments) <= set(found.parameters)


@pytest.mark.parametrize(
    ("gpu", "told"),
    [
        (Gpu("GTX 1650", 4.0, (7, 5)), "4 GiB of GPU memory are too few"),
        (Gpu("Tesla P100", 16.0, (6, 0)), "compute capability, 6.0, is below 7.0"),
    ],
)
def test_cards_that_cannot_do_it_are_told_why(gpu: Gpu, told: str) -> None:
    assert told in str(of(Gemma2Lora, Machine(8, gpus=(gpu,))).unfit)


@pytest.mark.usefixtures("weights_are_here")
def test_old_cards_compute_in_float16() -> None:
    assert "float16" in of(Gemma2Lora, Machine(8, gpus=(T4,))).comments["model"]
    assert of(Gemma2Lora, Machine(8, gpus=(H100,))).comments["model"] == "computed in bfloat16"


def test_minutes_follow_rows_tokens_and_card() -> None:
    data = DataSummary(IDS, NONE, tokens=(900,))
    fast = of(Llama3Lora, Machine(8, gpus=(H100,)), data)
    # Four folds' worth of rows at 19.0 a second; predictions of both orders at 48.3.
    assert fast.minutes == pytest.approx((4000 / 19.0 + 2 * 1000 / 48.3) / 60)
    assert "measured on one H100 or H200" in fast.basis
    half = DataSummary(IDS, NONE, tokens=(450,))
    assert of(Llama3Lora, Machine(8, gpus=(H100,)), half).minutes == pytest.approx(
        (fast.minutes or 0) / 2
    )
    slow = of(Llama3Lora, Machine(8, gpus=(Gpu("NVIDIA A100", 79.6, (8, 0)),)), data)
    assert (slow.minutes or 0) > 2 * (fast.minutes or 0)
    odd = of(Llama3Lora, Machine(8, gpus=(Gpu("Odd card", 79.6, (8, 0)),)), data)
    assert odd.minutes is None
    assert odd.basis == "nothing is known of the speed of Odd card"


def test_lengths_are_no_longer_than_the_battles() -> None:
    short = DataSummary(IDS, NONE, tokens=tuple(range(100, 400)))
    found = of(Gemma2Lora, Machine(8, gpus=(H100,)), short)
    assert (found.parameters["train_length"], found.parameters["predict_length"]) == (512, 512)


def test_a_model_that_is_not_here_is_no_learner_yet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(advice, "find_spec", lambda _: None)
    found = of(Gemma2Lora, Machine(8, gpus=(H100,)))
    assert found.unfit == (
        "torch, transformers, peft must be installed: pip install '.[lm]'; its weights are not "
        "here as safetensors: hf download google/gemma-2-9b-it"
    )
    (tmp_path / "config.json").write_text("{}")
    assert advice.is_here(str(tmp_path))


def write(path: Path, ids: pl.Series, kind: str, value: float = 0.25) -> Path:
    names = ("logit_a", "logit_b", "logit_tie")
    cells = [value, value, 1 - 2 * value] if kind == "probabilities" else [0.5, 0.1, -1.0]
    if kind == "probabilities":
        names = ("winner_model_a", "winner_model_b", "winner_tie")
    columns = {name: [cell] * len(ids) for name, cell in zip(names, cells, strict=True)}
    frame = pl.DataFrame({"id": ids, **columns})
    frame.write_csv(path) if path.suffix == ".csv" else frame.write_parquet(path)
    return path


def table(path: Path, of: Any) -> RowTable:
    columns = pl.read_csv(path) if path.suffix == ".csv" else pl.read_parquet(path)
    return RowTable((path,), tuple(columns.columns), of)


def precomputed(*tables: RowTable, test_ids: pl.Series = TEST_IDS) -> list[Suggestion]:
    return list(Precomputed.suggest(DataSummary(IDS, test_ids, tables=tables), Machine(1)))


def test_oof_and_test_files_go_together_by_the_names_of_their_models(tmp_path: Path) -> None:
    files = {
        name: write(tmp_path / name, IDS if "oof" in name else TEST_IDS, kind)
        for name, kind in (
            ("gemma_oof.parquet", "logits"),
            ("gemma_test.parquet", "logits"),
            ("oof-llama.csv", "probabilities"),
            ("test-llama.csv", "probabilities"),
        )
    }
    tables = [table(p, "target" if "oof" in n else "test") for n, p in files.items()]
    gemma, llama = precomputed(*tables)
    assert (gemma.name, gemma.unfit) == ("gemma", None)
    assert gemma.parameters == {
        "oof": files["gemma_oof.parquet"],
        "test": files["gemma_test.parquet"],
    }
    assert (llama.name, llama.parameters["kind"]) == ("llama", "probabilities")
    assert Precomputed(**gemma.parameters).oof == files["gemma_oof.parquet"]


def test_predictions_that_cannot_be_used_say_why(tmp_path: Path) -> None:
    whole = write(tmp_path / "a_oof.csv", IDS, "logits")
    part = write(tmp_path / "b_oof.csv", IDS[:10], "logits")
    sure = write(tmp_path / "c_oof.csv", IDS, "probabilities", value=0.0)
    alone = write(tmp_path / "d_test.csv", TEST_IDS, "logits")
    told = {
        one.name: str(one.unfit)
        for one in precomputed(
            *(table(path, "target") for path in (whole, part, sure)), table(alone, "test")
        )
    }
    assert "no predictions of the test rows" in told["a"]
    assert "no predictions of the test rows" in told["b"], "a part of the target is enough"
    assert "these are labels" in told["c"]
    assert "give `oof =`" in told["d"]


def test_without_a_test_there_are_no_predictions_of_it(tmp_path: Path) -> None:
    (found,) = precomputed(
        table(write(tmp_path / "a_oof.csv", IDS, "logits"), "target"), test_ids=NONE
    )
    assert found.unfit is None
    assert found.minutes == 0
