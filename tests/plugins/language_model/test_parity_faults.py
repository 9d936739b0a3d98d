from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from ensemble import errors

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ensemble_plugins.language_model.model.classifier import Classifier

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("peft")
decoder = importlib.import_module("ensemble_plugins.language_model.model.decoder")
encoder = importlib.import_module("ensemble_plugins.language_model.model.encoder")
model = importlib.import_module("ensemble_plugins.language_model.model.classifier")
parity = importlib.import_module("ensemble_plugins.language_model.model.parity")
tiny = importlib.import_module("tests.plugins.language_model.tiny_models")

pytestmark = pytest.mark.filterwarnings(
    "ignore:`torch.jit.script` is deprecated:DeprecationWarning"  # transformers' DeBERTa
)
torch.set_num_threads(1)  # threads that share cores with other tests wait for each other

DECODERS = ["gemma2", "llama3", "qwen2"]
LENGTHS = [5, 40, 1, 33, 17, 64]
"""Longer and shorter than Gemma-2's window of 24."""
LOUD = "logits are not those of transformers' padded float32 path: they drift by "


def check(classifier: Classifier, **options: Any) -> None:
    parity.check_parity(classifier, tiny.random_tokens(LENGTHS), where="in a test", **options)


def change_packs(monkeypatch: pytest.MonkeyPatch, change: Callable[[Any], None]) -> None:
    """Change every pack in place after it is made."""
    make_pack = model.make_pack

    def changed(*args: Any, **options: Any) -> Any:
        pack = make_pack(*args, **options)
        change(pack)
        return pack

    monkeypatch.setattr(model, "make_pack", changed)


def break_positions(monkeypatch: pytest.MonkeyPatch) -> None:
    # That positions go on from row to row would not show: rotary embeddings see differences alone.
    change_packs(monkeypatch, lambda pack: pack.positions.remainder_(4))


def break_read_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    change_packs(monkeypatch, lambda pack: pack.mask.read.sub_(1).clamp_(min=0))


def break_order_of_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    def turn(pack: Any) -> None:
        pack.mask.read = pack.mask.read.flip(0)

    change_packs(monkeypatch, turn)


def break_mask(monkeypatch: pytest.MonkeyPatch) -> None:
    def open_up(pack: Any) -> None:
        pack.mask.starts = np.zeros_like(pack.mask.starts)

    change_packs(monkeypatch, open_up)


def break_mask_of_last_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    def open_up(pack: Any) -> None:
        pack.mask.lowest = {w: torch.zeros_like(low) for w, low in pack.mask.lowest.items()}

    change_packs(monkeypatch, open_up)


def break_causality(monkeypatch: pytest.MonkeyPatch) -> None:
    def open_up(query: Any, key: Any, value: Any, scaling: float, softcap: Any, _: Any) -> Any:
        everywhere = torch.ones(query.shape[2], key.shape[2], dtype=torch.bool)
        return decoder.attention._written_out(query, key, value, everywhere, scaling, softcap)

    monkeypatch.setattr(decoder.attention, "_of_row", open_up)


def break_adapters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        decoder, "project", lambda x, modules: [module.get_base_layer()(x) for module in modules]
    )


def break_option(name: str) -> Callable[[pytest.MonkeyPatch], None]:
    def break_it(monkeypatch: pytest.MonkeyPatch) -> None:
        options = decoder._options
        monkeypatch.setattr(decoder, "_options", lambda module: options(module) | {name: None})

    return break_it


FAULTS: dict[str, Callable[[pytest.MonkeyPatch], None]] = {
    "positions": break_positions,
    "read tokens": break_read_tokens,
    "order of rows": break_order_of_rows,
    "rows see each other": break_mask,
    "last layer sees other rows": break_mask_of_last_layer,
    "later tokens are seen": break_causality,
    "no adapters": break_adapters,
}


def break_distances(monkeypatch: pytest.MonkeyPatch) -> None:
    buckets = encoder._buckets
    monkeypatch.setattr(encoder, "_buckets", lambda *args: buckets(*args).roll(1))


DEBERTA_FAULTS = {"distances": break_distances}
GEMMA_FAULTS = {
    "no soft-capping": break_option("softcap"),
    "no window": break_option("sliding_window"),
}


@pytest.mark.parametrize(
    ("family", "fault"),
    [
        *((family, name) for family in DECODERS for name in FAULTS),
        *(("gemma2", name) for name in GEMMA_FAULTS),
        *(("deberta", name) for name in DEBERTA_FAULTS),
    ],
)
def test_a_fault_is_told_loudly(
    family: str, fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    classifier = tiny.classifier(family, tmp_path)
    check(classifier)
    (FAULTS | GEMMA_FAULTS | DEBERTA_FAULTS)[fault](monkeypatch)
    with pytest.raises(errors.LearnerError, match=LOUD) as error:
        check(classifier)
    assert error.value.where == "in a test"


@pytest.mark.parametrize("family", ["deberta", "bert"])
def test_padding_that_is_attended_to_is_told_loudly(
    family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_padded = model.make_padded

    def attend_to_all(*args: Any, **options: Any) -> Any:
        padded = make_padded(*args, **options)
        padded.attended.fill_(1)
        return padded

    monkeypatch.setattr(model, "make_padded", attend_to_all)
    with pytest.raises(errors.LearnerError, match=LOUD):
        check(tiny.classifier(family, tmp_path))


@pytest.mark.parametrize("family", [*DECODERS, "deberta", "bert"])
def test_another_head_shows_against_a_reference(family: str, tmp_path: Path) -> None:
    classifier, tokens = tiny.classifier(family, tmp_path), tiny.random_tokens(LENGTHS)
    reference = parity.reference_logits(classifier, tokens)
    classifier.new_head(seed=1)
    assert parity.drift(classifier, tokens, reference) > 1e-2


def test_a_head_that_only_the_engine_has_is_told_loudly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    classifier = tiny.classifier("llama3", tmp_path)
    logits = type(classifier).logits
    monkeypatch.setattr(type(classifier), "logits", lambda self, batch: logits(self, batch) * 1.01)
    with pytest.raises(
        errors.LearnerError, match=LOUD + r"0.00\d+ \(0.0001 is allowed; transformers"
    ):
        check(classifier)
    check(classifier, tolerance=0.02)


def test_a_drift_that_is_no_number_is_told_loudly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    classifier = tiny.classifier("llama3", tmp_path)
    monkeypatch.setattr(parity, "drift", lambda *_: float("nan"))
    with pytest.raises(errors.LearnerError, match=LOUD + "nan"):
        check(classifier)


def test_more_is_allowed_where_rounding_alone_does_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    classifier = tiny.classifier("llama3", tmp_path)
    exact, tokens = parity.reference_logits, tiny.random_tokens(LENGTHS)
    found = 0.03 * (1 + np.abs(exact(classifier, tokens)).max())
    monkeypatch.setattr(parity, "reference_logits", lambda *args: exact(*args) + found)
    with pytest.raises(
        errors.LearnerError, match=r"drift by 0.0\d+ \(0.0001 is allowed; transformers' own"
    ):
        check(classifier)
    monkeypatch.setattr(parity, "rounding_drift", lambda *_: 0.03)
    check(classifier)  # transformers' own are as far away
    with pytest.raises(errors.LearnerError, match=LOUD):
        check(classifier, tolerance=1e-3)


@pytest.mark.parametrize("own", [0.6, np.inf, np.nan])
def test_no_rounding_explains_any_difference(
    own: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    classifier = tiny.classifier("llama3", tmp_path)
    monkeypatch.setattr(parity, "rounding_drift", lambda *_: own)
    monkeypatch.setattr(parity, "drift", lambda *_: 0.3)
    with pytest.raises(errors.LearnerError, match=LOUD + "0.3"):
        check(classifier)
    check(classifier, tolerance=0.4)


def test_a_drift_of_rounding_is_measured_in_half_precision_alone(tmp_path: Path) -> None:
    classifier, tokens = tiny.classifier("llama3", tmp_path), tiny.random_tokens(LENGTHS)
    reference = parity.reference_logits(classifier, tokens)
    assert parity.rounding_drift(classifier, tokens, reference) == 0.0
    classifier.dtype = torch.bfloat16
    assert 1e-5 < parity.rounding_drift(classifier, tokens, reference) < 0.1
