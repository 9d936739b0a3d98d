"""The longest row that a model takes: as many tokens as its tables of positions have rows.

Read from the modules that hold the tables, so that each way of counting is met: RoBERTa's positions
begin after that of padding, BART's after two more, others sum axes or build a table of distances.
Models that turn states by their position (RoPE) or look at distances alone have no table, and no
limit, but for two kinds of RoPE (Phi-3's long contexts) that treat longer rows in another way.
"""

from __future__ import annotations

import math
import re
import warnings
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from ensemble.errors import LearnerError
from ensemble_plugins.language_model.model.heads import empty_classifier, find_backbone

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from transformers import PreTrainedConfig, PreTrainedModel

_TABLE = re.compile(
    r"wpe|(?!x_|y_|h_|w_|rel)(\w+_)?(pos|positions?)_(embed|encod)\w*|embed_positions"
)
"""What models call their tables, but for those of places on a page or an image."""
_ELSEWHERE = re.compile(r"vision|visual|image|audio|entity|layout")
"""What has positions of something else than tokens."""


def longest_row(config: PreTrainedConfig) -> int | None:
    """Give the most tokens of a row that a classifier takes; None for no limit.

    Parameters
    ----------
    config
        Of the classifier, which is built without weights.

    Raises
    ------
    LearnerError
        No classifier can be built from it; or positions begin after a token that it does not name.
    """
    model = empty_classifier(config)
    find_padding(model)
    return find_limit(model)


def warn_of_cuts(limit: int | None, lengths: Mapping[str, int], model: str) -> None:
    """Warn of lengths that a model does not take.

    Parameters
    ----------
    limit
        As ``longest_row`` gives it.
    lengths
        Parameters by name: most tokens of a row.
    model
        Its name, for the message.
    """
    over = [f"{name} = {length}" for name, length in lengths.items() if length > (limit or length)]
    if over:
        warnings.warn(
            f"{' and '.join(over)}: {model} has positions for {limit} tokens, so that rows are cut "
            f"to {limit} (hint: set {' and '.join(lengths)} to at most {limit}, or take a model "
            "with more positions)",
            stacklevel=2,
        )


def find_limit(model: PreTrainedModel) -> int | None:
    """Give the most tokens of a row that the tables of a classifier hold; None without a table."""
    sizes = [*_table_sizes(find_backbone(model)), *_fixed_rotations(model.config)]
    if not sizes:
        return None
    told = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    # Where positions begin later for no reason that the table tells, the config has the number.
    return min([*sizes, told] if isinstance(told, int) and told > 0 else sizes)


def find_padding(model: PreTrainedModel) -> int | None:
    """Give the token that a classifier counts as padding when it numbers positions.

    None where positions are numbered whatever the tokens are.

    Raises
    ------
    LearnerError
        It numbers them so, and its config names no such token.
    """
    for module in find_backbone(model).modules():
        # BART has the attribute too, and a table of its own kind that counts all tokens.
        tables = [n for n, part in module.named_children() if type(part) is nn.Embedding]
        if not any(map(_TABLE.fullmatch, tables)) or not hasattr(module, "padding_idx"):
            continue
        token: Any = module.padding_idx
        if token is None or token < 0:
            raise LearnerError(
                f"{type(model).__name__} numbers positions from pad_token_id on, and its config "
                f"has {'none' if token is None else token}",
                where=str(model.config.name_or_path) or None,
                hint="set pad_token_id in its config.json to that of its tokenizer (1 for RoBERTa)",
            )
        return int(token)
    return None


def _fixed_rotations(config: PreTrainedConfig) -> Iterator[int]:
    """Give the lengths up to which positions turn states in one way.

    Beyond, these kinds of RoPE turn all rows of a batch by the longest of them, so that logits of
    a row depend on the rows beside it.
    """
    text = config.get_text_config()
    rope: Any = getattr(text, "rope_parameters", None) or {}
    # By kind of layer, or of all layers.
    for part in (
        rope.values() if rope and all(isinstance(p, dict) for p in rope.values()) else [rope]
    ):
        if part.get("rope_type") in ("longrope", "dynamic"):
            told = part.get("original_max_position_embeddings") or text.max_position_embeddings
            yield int(told)


def _table_sizes(backbone: nn.Module) -> Iterator[int]:
    for name, module in backbone.named_modules():
        if _ELSEWHERE.search(name):
            continue
        yield from _size(name.rpartition(".")[2], module)
        for buffer, table in module.named_buffers(recurse=False):
            if table.ndim == 2 and table.is_floating_point() and _TABLE.fullmatch(buffer):
                yield len(table)


def _size(name: str, module: Any) -> Iterator[int]:
    table = getattr(module, "weight", None)
    if isinstance(table, torch.Tensor) and table.ndim == 2 and _TABLE.fullmatch(name):
        padding = getattr(module, "padding_idx", None)
        first = getattr(module, "offset", 0 if padding is None else padding + 1)
        yield len(table) - int(first)
    if hasattr(module, "axial_pos_shape"):  # Reformer
        yield math.prod(module.axial_pos_shape)
    if hasattr(module, "max_seq_length"):  # MPT: its distances are counted up to there
        yield int(module.max_seq_length)
