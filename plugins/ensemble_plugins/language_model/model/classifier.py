"""A pretrained model as a classifier of battles: adapters, head, and logits of packs or batches."""

from __future__ import annotations

from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from ensemble.errors import LearnerError
from ensemble_plugins.language_model.model import attention, decoder, devices, encoder
from ensemble_plugins.language_model.model.batches import (
    Pack,
    Padded,
    aligned,
    make_pack,
    make_padded,
    plan_packs,
    plan_padded,
)
from ensemble_plugins.language_model.model.compiled import compile_layers, not_compiled
from ensemble_plugins.language_model.model.encoder import MULTIPLE
from ensemble_plugins.language_model.model.forward import plain_forwards, restore_forward
from ensemble_plugins.language_model.model.fp8_training import keep_fp8_weights
from ensemble_plugins.language_model.model.heads import find_backbone, find_head, is_head
from ensemble_plugins.language_model.model.implementation import attention_of, eager_attention
from ensemble_plugins.language_model.model.kernels import name_attention, prepare_kernel
from ensemble_plugins.language_model.model.lora import (
    ADAPTER,
    add_adapters,
    fuse_adapters,
    merge_adapters,
    plain_adapters,
)
from ensemble_plugins.language_model.model.merged import MergedAdapters
from ensemble_plugins.language_model.model.outputs import Caution, drop_head
from ensemble_plugins.language_model.model.packing import find_head_size, find_windows, why_padded
from ensemble_plugins.language_model.model.padded import (
    call,
    differs,
    padded_logits,
    probe_ids,
    reads_padding,
)
from ensemble_plugins.language_model.model.positions import find_limit
from ensemble_plugins.language_model.model.precision import use_eight_bits
from ensemble_plugins.language_model.text.tokens import Tokens

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    from numpy.typing import NDArray
    from transformers import PreTrainedModel

    from ensemble_plugins.language_model.settings import ModelSettings, PredictionSettings

    IntArray = NDArray[np.int64]

_PROBES = (5, 9, 3)
"""Lengths of the rows that are packed, to see whether a model takes packs."""


class Classifier:
    """A model with its head, on one device.

    Parameters
    ----------
    base
        The model on its device, with frozen weights in the dtype that they are computed in.
    settings
        What of it is trained.
    head
        Modules of its head, as ``heads.find_head`` gives them; None finds them.
    pad_id
        Token that fills padded batches; nobody attends to it.
    compiled
        Whether layers are compiled; None where it pays, on CUDA.

    Attributes
    ----------
    model
        The model; with adapters a ``PeftModel``.
    packed
        True where rows are packed; False where the model's attention takes padded batches only.
    why_padded
        Why they are not; empty where they are.
    identity
        What it was loaded from, as ``base_weights.identity`` names it; empty where from nothing.
    caution
        What to tell of its head before training, as ``weights.Loaded`` has it.
    size
        Number of the model's parameters without adapters, whatever bits they are stored in.
    multiple
        What a padded row's length is rounded up to, on this device.
    alike
        Whether rows are computed with rows of the same length alone, since the model reads padding.

    Raises
    ------
    LearnerError
        It was to be trained in FP8, and cannot be.
    """

    def __init__(
        self,
        base: PreTrainedModel,
        settings: ModelSettings,
        *,
        head: tuple[str, ...] | None = None,
        pad_id: int = 0,
        compiled: bool | None = None,
    ) -> None:
        attention.register()
        self.settings = settings
        self.head = find_head(base) if head is None else head
        self.identity: dict[str, str] = {}
        self.caution = Caution()
        self.device = base.device
        self.dtype = devices.compute_dtype(self.device)
        self.pad_id = pad_id
        for config in (base.config, base.config.get_text_config()):
            config.pad_token_id = pad_id
        self.why_padded = why_padded(base)
        self.packed, self.multiple, self.alike = not self.why_padded, 1, False
        self._adopt(base)
        self.compiled = self.device.type == "cuda" if compiled is None else compiled
        if self.compiled:
            # All packs have one width. Padded batches have many: compiled for any of them.
            compile_layers(self.backbone, dynamic=not self.packed)

    def _adopt(self, base: PreTrainedModel) -> None:
        plain = attention_of(base)
        self.size = int(base.num_parameters())
        self.model: nn.Module = add_adapters(base, self.settings, self.head)
        self.base: Any = base
        for parameter in self.model.parameters():
            if parameter.requires_grad:
                parameter.data = parameter.data.float()
        self.model.to(self.device)
        self.model.eval()
        self._vectors = {
            name: parameter.detach().clone()
            for name, parameter in self.head_parameters().items()
            if parameter.ndim == 1
        }
        reason = self._pack() if self.packed else ""
        if reason:
            self._unpack(plain)
            self.why_padded = reason
        if self.settings.train_precision == "fp8":
            self._train_in_fp8()
        merging = self.packed and self.settings.train_precision == "native"
        self._merged = MergedAdapters(plain_adapters(self.backbone) if merging else [], ADAPTER)
        if not self.packed:
            found = encoder.patch_forward(self.backbone)
            wide = found and self.device.type == "cuda" and not (find_limit(base) or 0) % MULTIPLE
            self.multiple = MULTIPLE if wide else 1
            with self._autocast():
                self.alike = not found and reads_padding(base, self.pad_id, self._tolerance)

    def _pack(self) -> str:
        """Compute packs from now on; say why they cannot be; empty where they can."""
        self.base.set_attn_implementation(attention.NAME)
        fuse_adapters(self.model)
        known = decoder.patch_forward(self.backbone)
        self._windows = find_windows(self.backbone)
        self._head_size = find_head_size(self.base)
        return "" if known else self._why_not_packed()

    def _train_in_fp8(self) -> None:
        reason = self.why_padded and f"its rows are padded: {self.why_padded}"
        if not reason and not keep_fp8_weights(plain_adapters(self.backbone)):
            reason = "it has no plain adapter (dropout, or no linear layer of such sizes)"
        if reason:
            raise LearnerError(
                f"the model cannot be trained in FP8: {reason}",
                hint='set train_precision = "native"',
            )

    def _why_not_packed(self) -> str:
        rows = [probe_ids(self.base, length, self.pad_id, seed=length) for length in _PROBES]
        tokens = Tokens.from_rows([row.numpy().astype("int32") for row in rows])
        try:
            with torch.no_grad():
                found = self.logits(self.batch(tokens, np.arange(len(rows))))
        except Exception as error:  # whatever it is: this model is no model for packs
            told = f"{type(error).__name__}: {error}".split("\n", maxsplit=1)[0]
            return f"a pack of it is not computed ({told})"
        with self.as_transformers() as model, self._mixed(), torch.no_grad():
            alone = [call(model, row[None].to(self.device)) for row in rows]
        differing = differs(found, torch.cat(alone).float(), self._tolerance)
        return "packed logits of it were others than those of rows by themselves" * differing

    def _unpack(self, implementation: str) -> None:
        """Leave the model to transformers again, which computes padded batches."""
        self.packed = False
        for module in self.model.modules():
            restore_forward(module)
        self.base.set_attn_implementation(implementation)
        if self.device.type == "cuda":
            torch.compiler.reset()

    @property
    def merged_bytes(self) -> int:
        """Bytes that a pass of training keeps for sums of weights and adapters."""
        return self._merged.bytes

    @property
    def _tolerance(self) -> float:
        """Greatest difference of logits, over the greatest of them, that is rounding."""
        return 1e-3 if self.dtype is torch.float32 else 0.1

    def head_parameters(self) -> dict[str, nn.Parameter]:
        """Give the parameters of the head that are trained, by name."""
        return {
            name: parameter
            for name, parameter in self.model.named_parameters()
            if parameter.requires_grad and is_head(name, self.head)
        }

    @property
    def backbone(self) -> nn.Module:
        """The model below its head."""
        return find_backbone(self.base)

    def plan(self, lengths: IntArray, budget: int) -> list[IntArray]:
        """Divide rows among packs or padded batches of at most ``budget`` tokens."""
        if self.packed:
            return plan_packs(lengths, budget)
        return plan_padded(aligned(lengths, self.multiple), budget)

    def batch(
        self, tokens: Tokens, rows: IntArray, *, width: int = 0, reads: int = 0
    ) -> Pack | Padded:
        """Put rows on the device; a pack is filled up to ``width`` tokens and ``reads`` logits."""
        if self.packed:
            training = self.model.training
            kernel = prepare_kernel(*self._attention_of_packs(), training=training)
            return make_pack(
                tokens,
                rows,
                device=self.device,
                width=width,
                reads=reads,
                windows=self._windows,
                kernel=kernel,
            )
        return make_padded(
            tokens, rows, device=self.device, pad_id=self.pad_id, multiple=self.multiple
        )

    def logits(self, batch: Pack | Padded) -> torch.Tensor:
        """Compute ``(n, 3)`` float32 logits, in the order of the batch's rows."""
        with self._adapters(), self._autocast():
            if isinstance(batch, Padded):
                return padded_logits(self.base, batch, alike=self.alike).float()
            hidden = self.backbone(
                input_ids=batch.ids,
                position_ids=batch.positions,
                use_cache=False,
                row_mask=batch.mask,
            ).last_hidden_state[0]
        if len(hidden) == batch.ids.shape[1]:  # the last layer did not read early
            hidden = hidden[batch.mask.read]
        logits: torch.Tensor = self.base.score(hidden.float())
        return logits

    def _adapters(self) -> AbstractContextManager[None]:
        # Layers that are computed again in the backward pass would not find the sums any more.
        again = self.base.is_gradient_checkpointing
        return self._merged.added() if self.model.training and not again else nullcontext()

    def prepare(self, prediction: PredictionSettings, *, merge: bool) -> None:
        """Make ready for prediction: merge the adapters, and compute in 8 bits where asked for."""
        self._merged = MergedAdapters([], ADAPTER)
        if merge:
            self.base = merge_adapters(self.model)
            self.model = self.base
        elif self.settings.tuning == "full":
            self.base.to(self.dtype)
        if prediction.precision != "native":
            use_eight_bits(self.backbone, prediction.precision)
        self.model.eval()
        if self.compiled:
            torch.compiler.reset()  # what was compiled for other modules only fills the cache

    def new_head(self, seed: int) -> None:
        """Put a new head in the place of the trained one: new layers, norms as they were loaded."""
        self.caution = drop_head(self.caution)
        generator = torch.Generator().manual_seed(seed)
        spread = getattr(self.base.config.get_text_config(), "initializer_range", 0.02)
        head = self.head_parameters()
        for name, parameter in head.items():
            drawn = torch.randn(parameter.shape, generator=generator) * spread
            parameter.data.copy_(self._vectors.get(name, drawn))
            weight = head.get(f"{name.removesuffix('bias')}weight")
            if name.endswith("bias") and weight is not None and weight.ndim > 1:
                parameter.data.zero_()  # that of a checkpoint's own head goes with its weights

    @property
    def attention(self) -> str:
        """What computes the attention of packs; empty where rows are padded."""
        return name_attention(*self._attention_of_packs()) if self.packed else ""

    def _attention_of_packs(self) -> tuple[torch.device, int, torch.dtype]:
        """Give device, size of heads, and what queries, keys and values are computed in."""
        activations = self.dtype if self._uniform() else torch.float32
        return self.device, self._head_size, activations

    def _autocast(self) -> AbstractContextManager[Any]:
        return nullcontext() if self.packed and self._uniform() else self._mixed()

    def _mixed(self) -> AbstractContextManager[Any]:
        """Compute in the model's dtype what is float32: adapters, and a head by transformers."""
        if self.dtype is torch.float32:
            return nullcontext()
        return torch.autocast(self.device.type, self.dtype)

    def _uniform(self) -> bool:
        """Say whether weights and activations are bfloat16 throughout, but for the adapters."""
        return self.dtype is torch.bfloat16 and self.settings.tuning == "lora"

    @contextmanager
    def as_transformers(self) -> Iterator[PreTrainedModel]:
        """Give the model as transformers computes it: eager attention, PEFT's adapters, all layers.

        The reference that parity is checked against.
        """
        modules = list(self.model.modules())
        with plain_forwards(modules), not_compiled(modules), eager_attention(self.base):
            yield self.base
