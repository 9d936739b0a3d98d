from __future__ import annotations

from typing import TYPE_CHECKING

from ensemble_plugins.language_model.train.messages import Messages

if TYPE_CHECKING:
    from pathlib import Path


def test_each_message_comes_once_in_the_order_of_its_sender(tmp_path: Path) -> None:
    here, one, other = (Messages(tmp_path) for _ in range(3))
    assert list(here.received()) == []
    one.send(0, "progress", 0.5, "loss 1")
    other.send(1, "error", "it broke", None, "hint: \u00e9\n")
    one.send(0, "progress", 0.6, "loss 2")
    assert list(here.received()) == [
        ["progress", 0.5, "loss 1"],
        ["progress", 0.6, "loss 2"],
        ["error", "it broke", None, "hint: \u00e9\n"],
    ]
    assert list(here.received()) == []
    one.send(0, "progress", 1.0, "done")
    assert list(here.received()) == [["progress", 1.0, "done"]]


def test_half_a_message_is_waited_for(tmp_path: Path) -> None:
    here = Messages(tmp_path)
    path = tmp_path / "messages-0.jsonl"
    path.write_text('["progress", 0.5, "lo')
    assert list(here.received()) == []
    with path.open("a") as file:
        file.write('ss"]\n["progress"')
    assert list(here.received()) == [["progress", 0.5, "loss"]]
