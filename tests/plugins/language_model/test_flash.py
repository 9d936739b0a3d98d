"""FlashAttention-4 as packs are computed by it, its kernels written out in plain operations."""

from __future__ import annotations

import importlib
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from tests.mostly_slow import mostly_slow

if TYPE_CHECKING:
    from pathlib import Path

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("peft")
attention = importlib.import_module("ensemble_plugins.language_model.model.attention")
devices = importlib.import_module("ensemble_plugins.language_model.model.devices")
document_mask = importlib.import_module("ensemble_plugins.language_model.model.document_mask")
batches = importlib.import_module("ensemble_plugins.language_model.model.batches")
classifier_module = importlib.import_module("ensemble_plugins.language_model.model.classifier")
flash = importlib.import_module("ensemble_plugins.language_model.model.flash")
kernels = importlib.import_module("ensemble_plugins.language_model.model.kernels")
merged = importlib.import_module("ensemble_plugins.language_model.model.merged")
packing = importlib.import_module("ensemble_plugins.language_model.model.packing")
recorded = importlib.import_module("ensemble_plugins.language_model.train.recorded")
families: Any = importlib.import_module("tests.plugins.language_model.tiny_families")
tiny = importlib.import_module("tests.plugins.language_model.tiny_training")
tokens_module = importlib.import_module("ensemble_plugins.language_model.text.tokens")

CPU = torch.device("cpu")
CALLS: list[dict[str, Any]] = []


def written_out(
    states: tuple[Any, ...], edges: Any, scale: float, cap: float, left: int | None
) -> tuple[Any, Any]:
    """Compute ``(t, heads, d)`` and the logarithms of sums, row by row, by definition."""
    outs, sums = [], []
    for start, end in pairwise(edges.tolist()):
        query, key, value = (part[start:end].transpose(0, 1) for part in states)
        times = len(query) // len(key)
        key, value = key.repeat_interleave(times, 0), value.repeat_interleave(times, 0)
        scores = query @ key.transpose(1, 2) * scale
        scores = cap * torch.tanh(scores / cap) if cap else scores
        ahead = torch.arange(end - start)[:, None] - torch.arange(end - start)[None]
        hidden = (ahead < 0) | (ahead > (end if left is None else left))
        scores = scores.masked_fill(hidden, float("-inf"))
        outs.append((scores.softmax(-1) @ value).transpose(0, 1))
        sums.append(scores.logsumexp(-1))
    return torch.cat(outs), torch.cat(sums, dim=1)


def forward(query: Any, key: Any, value: Any, **options: Any) -> tuple[Any, ...]:
    CALLS.append(options)
    assert options["return_lse"] and options["causal"]
    return *_computed((query, key, value), options), None, None, None


def backward(
    query: Any, key: Any, value: Any, out: Any, grad: Any, sums: Any, **options: Any
) -> None:
    CALLS.append(options)
    assert options["deterministic"] and options["causal"]

    def differentiated() -> tuple[Any, ...]:
        states = tuple(part.detach().requires_grad_() for part in (query, key, value))
        again, again_sums = _computed(states, options)
        torch.testing.assert_close(again, out)
        torch.testing.assert_close(again_sums, sums)
        return tuple(torch.autograd.grad(again, states, grad))

    with ThreadPoolExecutor(1) as beside:  # within an operation there are no gradients
        found = beside.submit(differentiated).result()
    for name, gradient in zip(("dq", "dk", "dv"), found, strict=True):
        options[name].copy_(gradient)


def _computed(states: tuple[Any, ...], options: dict[str, Any]) -> tuple[Any, Any]:
    assert options["cu_seqlens_q"] is options["cu_seqlens_k"]
    assert options["cu_seqlens_q"].dtype is torch.int32
    windowed = options["window_size_left"] is not None
    assert options["window_size_right"] == (0 if windowed else None)
    return written_out(
        states,
        options["cu_seqlens_q"],
        options["softmax_scale"],
        options["softcap"],
        options["window_size_left"],
    )


@pytest.fixture(autouse=True)
def _plain_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    CALLS.clear()
    found = SimpleNamespace(forward=forward, backward=backward)
    monkeypatch.setattr(flash, "_kernels", lambda: found)
    monkeypatch.setattr(merged, "DEVICE", "cpu")


def make_mask(
    lengths: list[int], kernel: Any, windows: Any = (None,), rows: int = 0, longest: int = 0
) -> Any:
    ends = np.cumsum(lengths)
    starts = np.repeat(ends - lengths, lengths)
    return document_mask.DocumentMask(
        starts, ends - 1, CPU, windows, kernel, rows=rows, longest=longest
    )


def draw_states(total: int) -> tuple[Any, ...]:
    torch.manual_seed(0)
    return tuple(torch.randn(1, count, total, 8, requires_grad=True) for count in (4, 2, 2))


@pytest.mark.parametrize("softcap", [None, 2.0])
@pytest.mark.parametrize("window", [None, 1, 7, 38, 39, 40, 5000])
@pytest.mark.parametrize(("lengths", "rows"), [([5, 1, 23, 11], 0), ([5, 1, 23, 11], 9), ([40], 0)])
def test_packs_get_what_other_kernels_give(
    softcap: float | None, window: int | None, lengths: list[int], rows: int
) -> None:
    states = draw_states(sum(lengths))
    options: dict[str, Any] = {"scaling": 0.7, "softcap": softcap, "sliding_window": window}
    found, wanted = (
        attention.packed_attention(
            None, *states, None, row_mask=make_mask(lengths, kernel, (window,), rows), **options
        )[0]
        for kernel in (kernels.FLASH, kernels.PLAIN)
    )
    assert len(CALLS) == 1
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-6)
    upstream = torch.randn_like(found)
    gradients = [torch.autograd.grad((out * upstream).sum(), states) for out in (found, wanted)]
    assert len(CALLS) == 2
    for gradient, reference in zip(*gradients, strict=True):
        torch.testing.assert_close(gradient, reference, rtol=1e-4, atol=1e-5)


def test_edges_have_one_shape_for_any_number_of_rows() -> None:
    def edges(lengths: list[int], rows: int) -> list[int]:
        return make_mask(lengths, kernels.FLASH, rows=rows).edges.tolist()  # type: ignore[no-any-return]

    assert edges([3, 4, 5], 0) == [0, 3, 7, 12]
    assert edges([3, 4, 5], 3) == [0, 3, 7, 12]
    assert edges([3, 4, 5], 5) == [0, 3, 7, 12, 12, 12]
    assert edges([3, 4, 5, 6], 3) == [0, 3, 7, 18], "filler rows share the last place"
    assert make_mask([3, 4], kernels.PLAIN).edges is None


def test_rows_of_a_training_pack_have_places_of_their_own() -> None:
    tokens = tokens_module.Tokens.from_rows([np.full(n, 5, dtype=np.int32) for n in (9, 3, 7)])
    shapes = set()
    for rows in ([0], [0, 1, 2], [1, 2]):
        pack = batches.make_pack(
            tokens, np.array(rows), device=CPU, width=600, reads=3, kernel=kernels.FLASH
        )
        edges = pack.mask.edges.tolist()
        shapes.add(len(edges))
        ends = np.cumsum([len(tokens.row(row)) for row in rows]).tolist()
        assert edges[: len(rows) + 1] == [0, *ends]
        assert edges[-1] == 600
    assert shapes == {3 + 1 + 1}


def test_a_window_is_one_for_all_packs_or_for_none() -> None:
    tokens = tokens_module.Tokens.from_rows([np.full(n, 5, dtype=np.int32) for n in (9, 3, 7)])
    for rows in ([0], [1, 2], [1]):
        pack = batches.make_pack(
            tokens, np.array(rows), device=CPU, windows=(None, 8, 9), kernel=kernels.FLASH
        )
        assert pack.mask.reached == {None: None, 8: 8, 9: None}
    assert make_mask([4, 3], kernels.FLASH, (None, 3, 4)).reached == {None: None, 3: 3, 4: None}


def test_rows_are_apart_where_fewer_are_read_at_least() -> None:
    tokens = tokens_module.Tokens.from_rows([np.full(n, 5, dtype=np.int32) for n in (9, 3, 7)])
    for reads in (1, 2):
        pack = batches.make_pack(
            tokens, np.arange(3), device=CPU, reads=reads, kernel=kernels.FLASH
        )
        assert pack.mask.edges.tolist()[:4] == [0, 9, 12, 19]


def test_a_mask_takes_the_edges_of_another() -> None:
    mask, other = (make_mask(n, kernels.FLASH, rows=4) for n in ([3, 4, 5], [6, 5, 1]))
    own = mask.apart()
    own.take(other)
    assert own.edges.tolist() == other.edges.tolist()
    assert mask.edges.tolist() == [0, 3, 7, 12, 12], "it was a copy"
    assert own.edges.data_ptr() not in {mask.edges.data_ptr(), other.edges.data_ptr()}


def test_packs_with_any_number_of_rows_are_compiled_once() -> None:
    compiled: list[Any] = []

    def backend(graph: Any, _inputs: Any) -> Any:
        compiled.append(graph)
        return graph

    def attend(mask: Any, *states: Any) -> Any:
        return attention.packed_attention(
            None, *states, None, row_mask=mask, scaling=1.0, sliding_window=7
        )[0]

    torch.compiler.reset()
    compute = torch.compile(attend, backend=backend, dynamic=False, fullgraph=True)
    states = draw_states(24)
    for lengths, rows in (
        ([24], 0),
        ([5, 19], 3),  # the numbers of places of two folds
        ([8, 8, 8], 4),
        ([2] * 12, 0),
        ([1] * 24, 30),
    ):
        mask = make_mask(lengths, kernels.FLASH, (7,), rows, longest=24)
        wanted = attend(mask, *states)
        for each in (mask, mask.apart()):  # as a recording has it
            torch.testing.assert_close(compute(each, *states), wanted)
    assert len(compiled) == 1
    torch.compiler.reset()


@pytest.mark.parametrize(("joined", "values"), [(False, 8), (False, 6), (True, 8)])
@pytest.mark.parametrize(("softcap", "window"), [(0.0, None), (3.0, 2)])
def test_the_compiler_is_told_the_truth(
    joined: bool, values: int, softcap: float, window: int | None
) -> None:
    parts = [part[0].transpose(0, 1).detach() for part in draw_states(12)]
    parts[2] = parts[2][..., :values].contiguous()  # heads of another size, as DeepSeek's
    states = [part.requires_grad_() for part in ([torch.cat(parts, dim=1)] if joined else parts)]
    edges = torch.tensor([0, 4, 12, 12], dtype=torch.int32)
    torch.library.opcheck(flash._attend, (states, edges, 4, 0.5, softcap, window))
    out, sums = (part.detach() for part in flash._attend(states, edges, 4, 0.5, softcap, window))
    plain = [part.detach() for part in states]
    inputs = (torch.randn_like(out), plain, out, sums, edges, 0.5, softcap, window)
    torch.library.opcheck(flash._attend_backward, inputs)


def test_one_tensor_of_all_heads_is_attended_as_three() -> None:
    parts = [part[0].transpose(0, 1).detach().requires_grad_() for part in draw_states(12)]
    whole = torch.cat(parts, dim=1).detach().requires_grad_()
    edges = torch.tensor([0, 5, 12], dtype=torch.int32)
    options = {"queries": 4, "scaling": 0.5, "softcap": 3.0, "window": 4}
    wanted, found = (flash.attend(states, edges, **options) for states in (parts, [whole]))
    torch.testing.assert_close(found, wanted)
    upstream = torch.randn_like(found)
    (gradient,) = torch.autograd.grad((found * upstream).sum(), [whole])
    gradients = torch.autograd.grad((wanted * upstream).sum(), parts)
    torch.testing.assert_close(gradient, torch.cat(gradients, dim=1))


@pytest.mark.parametrize(
    "family",
    mostly_slow(["llama", "gemma2", "gemma3", "qwen2", "qwen3", "mistral"], "llama", "gemma3"),
)
def test_a_model_trains_and_predicts_by_it_as_without_it(
    family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    joined: list[int] = []
    whole = attention.joined_attention

    def counted(*args: Any, **options: Any) -> Any:
        joined.append(len(CALLS))
        return whole(*args, **options)

    monkeypatch.setattr(attention, "joined_attention", counted)
    directory, rows = families.save(family, tmp_path), tiny.labeled_rows(12, orders=2)
    ended = []
    for kernel in (kernels.PLAIN, kernels.FLASH):
        monkeypatch.setattr(
            classifier_module, "prepare_kernel", lambda *_, kernel=kernel, **__: kernel
        )
        classifier = tiny.load(directory)
        tiny.Training(classifier, rows, tiny.settings(), seed=1).run()
        trained = len(joined)
        logits = tiny.compute_logits(classifier, rows.orders[0], 60)
        assert len(joined) == trained, "adapters are added to the weights in training alone"
        ended.append((logits, tiny.mean_loss(classifier, rows)))
    assert joined and CALLS
    np.testing.assert_allclose(ended[0][0], ended[1][0], rtol=1e-3, atol=1e-4)
    assert ended[0][1] == pytest.approx(ended[1][1], rel=1e-4)


def test_a_recording_reads_edges_of_its_own() -> None:
    tokens = tokens_module.Tokens.from_rows([np.full(n, 5, dtype=np.int32) for n in (9, 3)])
    pack = batches.make_pack(tokens, np.arange(2), device=CPU, reads=2, kernel=kernels.FLASH)
    inputs = recorded.Inputs(pack, torch.eye(3)[:2], torch.ones(2))
    own = recorded._own(inputs)
    own.batch.mask.edges.zero_()
    assert pack.mask.edges.tolist() == [0, 9, 12, 12]


@pytest.mark.parametrize(("tuning", "activations"), [("lora", "bfloat16"), ("full", "float32")])
def test_weights_that_are_all_trained_are_computed_without_it(
    tuning: str, activations: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def prepare(_device: Any, _size: int, dtype: Any, **_: Any) -> Any:
        asked.append(dtype)
        return kernels.PLAIN

    monkeypatch.setattr(devices, "compute_dtype", lambda _device: torch.bfloat16)
    monkeypatch.setattr(classifier_module, "prepare_kernel", prepare)
    classifier = tiny.load(families.save("llama", tmp_path), tuning=tuning)
    classifier.batch(tiny.labeled_rows(4).orders[0], np.arange(4))
    assert set(asked) == {getattr(torch, activations)}


@pytest.mark.parametrize(
    ("sizes", "found"),
    [
        ({"head_dim": 64}, 64),
        ({"hidden_size": 96, "num_attention_heads": 4}, 24),
        ({"head_dim": 64, "qk_head_dim": 192}, 192),
    ],
)
def test_the_size_of_heads_is_that_of_queries(sizes: dict[str, int], found: int) -> None:
    config = SimpleNamespace(get_text_config=lambda: SimpleNamespace(**sizes))
    assert packing.find_head_size(SimpleNamespace(config=config)) == found


def test_adapters_of_some_layers_alone_leave_products_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attention, "joined_attention", lambda *_, **__: 1 / 0)
    monkeypatch.setattr(classifier_module, "prepare_kernel", lambda *_, **__: kernels.FLASH)
    directory = families.save("llama", tmp_path)
    classifier = tiny.load(directory, modules=("q_proj", "v_proj"))
    assert classifier._merged.layers
    tiny.Training(classifier, tiny.labeled_rows(6), tiny.settings(epochs=1), seed=1).run()
    assert CALLS
