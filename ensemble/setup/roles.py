"""Which battles are target and test, and what the others are for, each with its reason."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from ensemble.errors import DataError
from ensemble.setup.likeness import TEST_WORDS, TRAIN_WORDS, likeness, words_of
from ensemble.setup.questions import Question

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ensemble.setup.look import Look
    from ensemble.setup.questions import Ask

Role = Literal["target", "train", "pretrain", "ignore", "test"]
_ALIKE = 0.15
"""Total variation up to which two sets of label shares are alike."""
_CLEAR = 2.0
"""By how much the best candidate for the target has to lead, not to be asked about."""
_NONE = "none of them"


@dataclass(frozen=True)
class Placed:
    """Battles with their role.

    Parameters
    ----------
    look
        The battles.
    role
        What they are for.
    why
        Why.
    """

    look: Look
    role: Role
    why: str


def place(looks: Sequence[Look], ask: Ask) -> list[Placed]:
    """Give each table of battles a role.

    Parameters
    ----------
    looks
        Tables of battles, labeled or not.
    ask
        Answers where several may be target or test.

    Raises
    ------
    DataError
        None has labels.
    """
    test, why_test = _test(looks, ask)
    labeled = [one for one in looks if one.kind in ("labeled", "undecided") and one is not test]
    if not labeled:
        raise _no_labels(looks)
    target, why = _target(labeled, test, ask)
    placed = [Placed(target, "target", why)]
    placed += [_external(one, target) for one in labeled if one is not target]
    if test is not None:
        placed.append(Placed(test, "test", why_test))
    left = [one for one in looks if one.kind == "unlabeled" and one is not test]
    reason = "no labels, and it is not the test: a source of role pseudo could have them"
    return placed + [Placed(one, "ignore", reason) for one in left]


def _no_labels(looks: Sequence[Look]) -> DataError:
    named = ", ".join(one.table.named for one in looks)
    if looks:
        return DataError(
            "no file has labels, so that nothing can be learned or scored",
            where=named,
            hint="name a file whose rows say who won too, such as train.csv",
        )
    return DataError(
        "no file holds battles that can be read: a prompt, two answers, and who won",
        hint="docs/data.md lists what is read; `columns` gives columns of other names ours",
    )


def _test(looks: Sequence[Look], ask: Ask) -> tuple[Look | None, str]:
    """Choose the test: a file without labels; else one that is called so beside one to train on."""
    bare = [one for one in looks if one.kind == "unlabeled"]
    if len(bare) == 1:
        return bare[0], "it has no labels"
    if bare:
        return _choose_test(bare, looks, ask)
    named = [one for one in looks if words_of(one) & TEST_WORDS]
    for one in named:
        others = [o for o in looks if o is not one and words_of(o) & TRAIN_WORDS and _same(o, one)]
        if others and one.kind == "labeled":
            kept = "use it as test, without its labels"
            asked = f"{one.table.named} is called a test, and has labels. What is it?"
            options = (kept, "another source of labels")
            if ask(Question(asked, options, kept)) == kept:
                why = "its name, beside a file to train on; its labels are not looked at"
                return one, why
    return None, ""


def _choose_test(bare: Sequence[Look], looks: Sequence[Look], ask: Ask) -> tuple[Look | None, str]:
    labeled = [one for one in looks if one.kind != "unlabeled"]

    def likely(one: Look) -> tuple[bool, bool, int]:
        alike = any(_shares_columns(one, other) for other in labeled)
        return bool(words_of(one) & TEST_WORDS), alike, -len(one.ids())

    ranked = sorted(bare, key=likely, reverse=True)
    first, second = ranked[:2]
    if likely(first)[:2] != likely(second)[:2]:
        why = "its name" if words_of(first) & TEST_WORDS else "it has the columns of a labeled file"
        return first, f"it has no labels, and of several such files {why} says test"
    names = [one.table.named for one in ranked]
    asked = f"several files have no labels: {', '.join(names)}. Which is the test?"
    answer = ask(Question(asked, (*names, _NONE), names[0]))
    found = next((one for one in ranked if one.table.named == answer), None)
    return found, "it has no labels, and was chosen among several"


def _same(one: Look, other: Look) -> bool:
    return one.read_as.split(",")[0] == other.read_as.split(",")[0] and _shares_columns(other, one)


def _shares_columns(inner: Look, outer: Look) -> bool:
    """Say whether a table has the columns of another."""
    return bool(inner.columns) and set(inner.columns) <= set(outer.columns)


def _target(labeled: Sequence[Look], test: Look | None, ask: Ask) -> tuple[Look, str]:
    if len(labeled) == 1:
        return labeled[0], "it is the only file with labels"
    scored = [(*likeness(one, labeled, test), one) for one in labeled]
    scored.sort(key=lambda item: (item[0], len(item[2].ids())), reverse=True)
    (best, reasons, first), (second, _, _) = scored[:2]
    if best - second >= _CLEAR:
        return first, "; ".join(reasons)
    names = [one.table.named for _, _, one in scored]
    told = "; ".join(reasons) or "it has the most rows"
    asked = (
        f"several files have labels: {', '.join(names)}. Folds and scores are made on the target, "
        f"which should be like the test. Which is it? ({names[0]}: {told})"
    )
    answer = ask(Question(asked, tuple(names), names[0])) or names[0]
    chosen = next(item for item in scored if item[2].table.named == answer)
    why = "; ".join(chosen[1]) or "it has the most rows"
    return chosen[2], f"{why} (others could be it: {', '.join(n for n in names if n != answer)})"


def _external(look: Look, target: Look) -> Placed:
    """Decide whether another source is mixed in, or learned from first, which does less harm."""
    differs = _differences(look, target)
    if not differs:
        why = "it has the target's columns and label shares: it is mixed in"
        return Placed(look, "train", why)
    return Placed(look, "pretrain", f"{', '.join(differs)}: it is learned from first, by itself")


def _differences(look: Look, target: Look) -> list[str]:
    one, other = look.facts, target.facts
    found = []
    if set(look.columns) != set(target.columns):
        found.append("its columns are not the target's")
    if one is None or other is None or one.shares is None or other.shares is None:
        return found
    if bool(one.ties) != bool(other.ties):
        found.append("it has no ties, and the target has" if other.ties else "it has ties")
    elif sum(abs(a - b) for a, b in zip(one.shares, other.shares, strict=True)) / 2 > _ALIKE:
        found.append("other label shares than the target's")
    return found


def repeated_ids(placed: Sequence[Placed]) -> dict[int, str]:
    """Find tables whose ids others have too: what has to be put before them, by place.

    Parameters
    ----------
    placed
        In the order of the config. The test keeps its ids, since the submission has them; the
        target goes before other sources.
    """
    first = {"test": 0, "target": 1}
    order = sorted(range(len(placed)), key=lambda at: first.get(placed[at].role, 2))
    seen: set[str] = set()
    prefixes: dict[int, str] = {}
    for at in order:
        if placed[at].role == "ignore":
            continue
        ids = placed[at].look.ids().to_list()
        if not seen.isdisjoint(ids):
            prefixes[at] = f"{placed[at].look.table.stem}-"
            ids = [prefixes[at] + name for name in ids]
        seen.update(ids)
    return prefixes
