"""Chat templates, run where they can neither hang the run nor fill its memory."""

from __future__ import annotations

import json
import subprocess
import sys
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ensemble.errors import LearnerError
from ensemble_plugins.language_model.text import chat_process

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

SECONDS = 10
"""CPU time that a template may take, for all that it is run on."""
_WALL = 6
"""How many times as long it may take where the machine has other work."""
_MEMORY = 1 << 30
_LONGEST = 1 << 20
"""Bytes of memory that it may take, and characters that it may write."""
_START = (
    "import json, runpy, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "runpy.run_path(sys.argv[2], run_name='__main__')"
)
"""Finds packages where this process does, those of the user's own directory too."""


def render_chat(
    template: str, contents: Sequence[Any], variables: Mapping[str, Any], today: str
) -> list[str | Exception]:
    """Run a chat template on one turn of the user, several times.

    Parameters
    ----------
    template
        In Jinja.
    contents
        What is in the turn, each time.
    variables
        What the template may name, as JSON.
    today
        The day that it is told, in ISO format.

    Returns
    -------
    list of str or Exception
        What it writes each time, or how it fails.

    Raises
    ------
    LearnerError
        It does not end within ``SECONDS``, or takes all the memory that it may; or its process
        cannot work.
    """
    request = {
        "template": template,
        "contents": list(contents),
        "variables": {**variables},
        "today": today,
        "seconds": SECONDS,
        "memory": _MEMORY,
        "longest": _LONGEST,
    }
    answers = json.loads(_answer(json.dumps(request)))
    return [one["text"] if "text" in one else ValueError(one["error"]) for one in answers]


@lru_cache(maxsize=16)
def _answer(request: str) -> bytes:
    code = str(Path(chat_process.__file__))
    command = [sys.executable, "-I", "-c", _START, json.dumps(sys.path), code]
    try:
        done = subprocess.run(
            command,
            input=request.encode(),
            capture_output=True,
            timeout=SECONDS * _WALL,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise _endless() from error
    if done.returncode < 0:  # a limit, which the system keeps by a signal
        raise _endless()
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines()[-1:]
        raise LearnerError(
            f"the process that runs the tokenizer's chat template failed: {''.join(said)}",
            hint="see that Jinja2 can be imported, or set `template`",
        )
    return done.stdout


def _endless() -> LearnerError:
    return LearnerError(
        f"the tokenizer's chat template does not end: it takes more than {SECONDS} seconds, or "
        f"more than {_MEMORY >> 20:,} MiB",
        hint='set `template` to "plain", or take a checkpoint that you trust',
    )
