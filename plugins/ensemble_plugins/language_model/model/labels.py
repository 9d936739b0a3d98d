"""What the config of a checkpoint calls its outputs, and which classes of battles they are."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from transformers import PreTrainedConfig

LABELS = ("model_a", "model_b", "tie")
"""What the classes are called in the config of a classifier of battles."""
N_CLASSES = len(LABELS)

_SPELLED = re.compile(
    r"(?:winner)?(?:model|response|assistant|answer)?(a|b|tie|draw)(?:is)?(?:wins?|better)?"
)
"""How others call them."""
_BETWEEN = re.compile(r"(?<=[a-z])[ _.-]+(?=[a-z])")
"""What is left out between their letters; anything else may turn what they mean around."""
_PLACES = {"a": 0, "b": 1, "tie": 2, "draw": 2}
_WHOLE = (None, "single_label_classification")


class Labels(NamedTuple):
    """What a config calls its outputs.

    Parameters
    ----------
    names
        In the order of the outputs; empty where their numbers are not 0 and on.
    order
        Which output each class of battles has; None where outputs are others, or nobody can tell.
    why_not
        Why the outputs are not those classes, although some labels are; may be empty.
    learned_battles
        Whether any of what is said names both sides of battles, and nothing else than battles.
    """

    names: tuple[str, ...]
    order: list[int] | None
    why_not: str
    learned_battles: bool


def read_labels(config: Mapping[str, Any]) -> Labels:
    """Read what a stored config calls its outputs, by number and by label.

    Where it says so in one direction alone, that counts; ``LABEL_0`` and its like say nothing.
    """
    given, back = config.get("id2label"), config.get("label2id")
    turned = [(number, label) for label, number in _pairs(back)]
    said = [_names(pairs) for pairs in (_pairs(given), turned) if _says_anything(pairs)]
    orders = [_order(names) for names in said]
    first = orders[0] if orders else None
    why = ""
    if any(order != first for order in orders):
        first, why = None, f"its config.json has {given} as id2label and {back} as label2id"
    elif (kind := config.get("problem_type")) not in _WHOLE and first is not None:
        why = f"its config.json has problem_type {kind}: each output stands for itself"
    names = said[0] if said else _names(_pairs(given))
    return Labels(tuple(names), first, why, any(map(_are_of_battles, said)))


def name_outputs(config: PreTrainedConfig) -> None:
    """Have a config call the outputs by the classes that they are from then on, in their order."""
    for part in (config, config.get_text_config()):
        part.id2label = dict(enumerate(LABELS))
        part.label2id = {label: number for number, label in enumerate(LABELS)}


def _pairs(given: object) -> list[tuple[Any, Any]]:
    return list(given.items()) if isinstance(given, dict) else []


def _says_anything(pairs: Iterable[tuple[Any, Any]]) -> bool:
    return any(str(label) != f"LABEL_{number}" for number, label in pairs)


def _names(pairs: Sequence[tuple[Any, Any]]) -> list[str]:
    """Give labels in the order of their numbers; none where these are not 0 and on, each once."""
    named = {str(number): str(label) for number, label in pairs}
    numbers = [str(number) for number in range(len(pairs))]
    return [named[one] for one in numbers] if named.keys() == {*numbers} else []


def _order(labels: Sequence[str]) -> list[int] | None:
    """Say which output each class of battles has; None where labels are of something else."""
    places = _places(labels)
    if sorted(places) != [*range(N_CLASSES)] or len(places) != len(labels):
        return None
    return [places.index(place) for place in range(N_CLASSES)]


def _are_of_battles(labels: Sequence[str]) -> bool:
    places = _places(labels)
    return len(places) == len(labels) and {0, 1} <= {*places}


def _places(labels: Iterable[str]) -> list[int]:
    plain = [_SPELLED.fullmatch(_BETWEEN.sub("", label.strip().lower())) for label in labels]
    return [_PLACES[match[1]] for match in plain if match is not None]
