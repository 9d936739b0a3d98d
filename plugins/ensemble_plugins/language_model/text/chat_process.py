"""Runs a chat template for ``chat_render``: in its own process, with bounds on time and memory.

A chat template is a program that comes with a checkpoint. The sandbox of Jinja keeps it from files
and from Python. That it ends, and in which memory, nothing in the same process can see to. This
file is run by itself: it imports Jinja alone, and sets it up as transformers does.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import sys
from typing import Any

import jinja2
import jinja2.ext
from jinja2.sandbox import ImmutableSandboxedEnvironment


class Generation(jinja2.ext.Extension):
    """Reads ``{% generation %}``, which marks what a model writes, and leaves its body as it is."""

    tags = {"generation"}  # noqa: RUF012 - as Jinja has it

    def parse(self, parser: Any) -> Any:
        """Give the body of the block."""
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def environment(today: str) -> ImmutableSandboxedEnvironment:
    """Make what templates are compiled in: the sandbox, with what transformers adds."""

    def raise_exception(message: str) -> None:
        raise jinja2.TemplateError(message)

    def tojson(value: Any, **options: Any) -> str:
        return json.dumps(value, **{"ensure_ascii": False, **options})

    made = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, jinja2.ext.loopcontrols]
    )
    made.filters["tojson"] = tojson
    made.globals["raise_exception"] = raise_exception
    made.globals["strftime_now"] = datetime.datetime.fromisoformat(today).strftime
    return made


def limit(seconds: int, memory: int) -> None:
    """Bound what this process may take, where the system can."""
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))


def rendered(request: dict[str, Any]) -> list[dict[str, str]]:
    """Run a template on each of several contents of a turn; each gives a text or an error."""
    try:
        template = environment(request["today"]).from_string(request["template"])
    except Exception as error:
        return [_error(error)] * len(request["contents"])
    found = []
    for content in request["contents"]:
        turn = {"role": "user", "content": content}
        try:
            parts: list[str] = []
            size = 0
            for part in template.generate(messages=[turn], **request["variables"]):
                size += len(part)
                if size > request["longest"]:
                    raise ValueError(f"it writes more than {request['longest']:,} characters")
                parts.append(part)
            text = "".join(parts)
            text.encode()  # half a character is no text, and no tokenizer takes it
            found.append({"text": text})
        except Exception as error:
            found.append(_error(error))
    return found


def _error(error: Exception) -> dict[str, str]:
    return {"error": f"{type(error).__name__}: {error}"[:2000]}


def main() -> None:
    """Answer the request on standard input."""
    request = json.loads(sys.stdin.buffer.read())
    limit(request["seconds"], request["memory"])
    answer = json.dumps(rendered(request))
    sys.stdout.buffer.write(answer.encode())


if __name__ == "__main__":
    main()
