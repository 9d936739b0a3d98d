"""Chat templates that want more than to write text: code, time, memory."""

from __future__ import annotations

import importlib
import json
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("transformers")
pytest.importorskip("tokenizers")

from ensemble import errors
from ensemble_plugins.language_model.text import chat_process, chat_render
from ensemble_plugins.language_model.text.chat import chat_template
from ensemble_plugins.language_model.text.chat_render import render_chat

if TYPE_CHECKING:
    from pathlib import Path

zoo: Any = importlib.import_module("tests.plugins.language_model.tokenizer_zoo")
DAY = "2024-07-26T00:00:00+00:00"


def render(template: str, content: Any = "text") -> str | Exception:
    (found,) = render_chat(template, [content], {"tools": None}, DAY)
    return found


CODE = (
    "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "{{ messages.__class__.__base__.__subclasses__() }}",
    "{{ cycler.__init__.__globals__.os.popen('touch MARK').read() }}",
    "{{ lipsum.__globals__['os'].system('touch MARK') }}",
    "{{ raise_exception.__globals__ }}",
    "{{ strftime_now.__self__.__class__ }}",
    "{{ self.__init__.__globals__ }}",
    "{{ '{0.__class__.__base__}'.format(messages) }}",
    "{{ messages.append(1) }}",
    "{% include '/etc/passwd' %}",
    "{% import 'os' as os %}{{ os.system('touch MARK') }}",
    "{{ namespace.__init__.__globals__ }}",
)


@pytest.mark.parametrize("template", CODE)
def test_a_chat_template_reaches_no_code(template: str, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    found = render(template.replace("MARK", str(mark)))
    # What the sandbox hides is undefined, which is written as nothing or fails.
    assert isinstance(found, Exception) or found == ""
    assert not mark.exists()


ENDLESS = (
    "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
    "{% set x = namespace(v='aaaaaaaa') %}{% for a in range(60) %}{% set x.v = x.v ~ x.v %}"
    "{% endfor %}{{ x.v }}",
    "{{ 'a' * 10**10 }}",
    "{{ 'a'.ljust(10**10) }}",
    "{{ 10 ** (10 ** 9) }}",
    "{{ '%2000000000d'|format(1) }}",
    "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
    "{% for a in range(99999) %}{{ 'a' * 1000 }}{% endfor %}",
    "{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}",
)


@pytest.mark.slow
@pytest.mark.parametrize("template", ENDLESS)
def test_a_chat_template_takes_neither_all_time_nor_all_memory(
    template: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chat_render, "SECONDS", 2)
    try:
        found = render(template)
    except errors.LearnerError as error:
        assert "does not end" in error.message and error.hint
    else:
        assert isinstance(found, Exception), f"{len(found)} characters"


def test_a_learner_is_told_of_a_chat_template_that_does_not_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(chat_render, "SECONDS", 1)
    with pytest.raises(errors.LearnerError, match="chat template does not end"):
        chat_template(zoo.qwen_like(), ENDLESS[0])


SAME = (
    "{% for m in messages %}<|{{ m['role'] }}|>\n{{ m['content'] }}<|end|>\n{% endfor %}",
    "{{ bos_token }}{%- if tools %}T{% endif -%}  \n {%- for m in messages -%}"
    "{{ m.content | trim }}{%- if loop.last and add_generation_prompt %}<a>{% endif %}"
    "{%- endfor -%}",
    "{{ messages | tojson }}{{ messages | tojson(indent=2) }}{{ strftime_now('%d %b %Y') }}",
    "{% for m in messages %}{% if m.role == 'system' %}{% continue %}{% endif %}{% generation %}"
    "{{ m.content }}{% endgeneration %}{% break %}{% endfor %}",
    "{% set ns = namespace(n=0) %}{% for m in messages %}{% set ns.n = ns.n + 1 %}{% endfor %}"
    "{{ ns.n }}{{ eos_token }}{{ thinking is defined }}",
)


@pytest.mark.parametrize("template", SAME)
def test_a_template_writes_what_transformers_writes(template: str) -> None:
    import datetime

    tokenizer = zoo.qwen_like()
    variables = {"tools": None, "documents": None, "add_generation_prompt": True, "thinking": False}
    contents = ["a <b> & é \n\t", [{"type": "text", "text": "a"}]]
    for content in contents:
        due = tokenizer.apply_chat_template(
            [{"role": "user", "content": content}],
            chat_template=template,
            tokenize=False,
            add_generation_prompt=True,
            thinking=False,
            strftime_now=datetime.datetime.fromisoformat(DAY).strftime,
        )
        asked = {**tokenizer.special_tokens_map, **variables}
        assert render_chat(template, [content], asked, DAY) == [due], json.dumps(content)


def test_a_process_that_cannot_work_is_told_as_such(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.py"
    broken.write_text("raise ImportError('no such package')\n")
    monkeypatch.setattr(chat_process, "__file__", str(broken))
    with pytest.raises(errors.LearnerError, match="failed: ImportError: no such package"):
        render("a template that no other test has")
