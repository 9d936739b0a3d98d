"""A tokenizer for user text: special tokens have names that nobody writes.

Exported models take this file along: it knows no other of the toolkit.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping


def define_plain(definition: str, special: Collection[str], secret: str = "") -> str:
    """Define a tokenizer that gives the same ids, but special tokens for no text whatsoever.

    Parameters
    ----------
    definition
        A fast tokenizer as JSON.
    special
        Tokens that text must not become.
    secret
        Part of the names that those have in the copy: who knows the names could write them.

    Returns
    -------
    str
        JSON for ``tokenizers.Tokenizer.from_str``. It neither truncates, pads nor adds tokens, and
        draws no merges.
    """
    document: dict[str, Any] = json.loads(definition)
    names = {token: _unwritable(token + secret) for token in special}
    for added in document["added_tokens"]:
        added["content"] = names.get(added["content"], added["content"])
    _rename_pieces(document["model"], names)
    document.update(truncation=None, padding=None, post_processor=None)
    return json.dumps(document, ensure_ascii=False)


def _rename_pieces(model: dict[str, Any], names: Mapping[str, str]) -> None:
    """Rename pieces of a model, and drop the merges that make or use them. Ids stay."""
    vocabulary = model["vocab"]
    if isinstance(vocabulary, dict):  # BPE, WordPiece and WordLevel
        model["vocab"] = {names.get(piece, piece): i for piece, i in vocabulary.items()}
    else:  # Unigram
        model["vocab"] = [[names.get(piece, piece), score] for piece, score in vocabulary]
    if model.get("unk_token") is not None:
        model["unk_token"] = names.get(model["unk_token"], model["unk_token"])
    if "merges" in model:
        model["dropout"] = None
        inner = model.get("continuing_subword_prefix") or ""
        model["merges"] = [
            [left, right]
            for left, right in model["merges"]
            if names.keys().isdisjoint((left, right, left + right.removeprefix(inner)))
        ]


def _unwritable(token: str) -> str:
    return f"<special token {hashlib.sha256(token.encode()).hexdigest()}>"
