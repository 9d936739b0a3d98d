"""What stands around a text and is no part of it: roles, tokens, tags, numbers of lines, marks."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ensemble.battles.letter_forms import unspaced
from ensemble.battles.masked import blanks_as_one, each, replaced, where

if TYPE_CHECKING:
    import polars as pl

_TOKENS = (
    r"<\|[^<>|\n]{1,40}\|>|</?s>|<(?:bos|eos|pad|unk)(?:_token)?>|\[/?(?:inst|system_prompt)\]"
    r"|<</?sys>>|<(?:start|end)_of_turn>"
)
_ROLE = r"user|assistant|human|system|model|chatbot|chatgpt|gpt|instructions?|input|output|response"
_SPEAKER = (
    r"ai|bot|question|answer|prompt|query|task|problem|request|q|a"
    r"|用户|助手|人类|系统|提示|指令|输入|输出|问题?|提问|答案?|回答"
    r"|ユーザー|アシスタント|質問|回答|指示|사용자|어시스턴트|질문|답변?|지시"
    r"|пользователь|ассистент|человек|вопрос|ответ|запрос|инструкция|задание"
    r"|usuario|asistente|pregunta|respuesta|instruccion|assistente|pergunta|resposta|instrucao"
    r"|utilisateur|reponse|consigne|be?nutzer|assistent|frage|antwort|anweisung|aufgabe"
    r"|utente|domanda|risposta|istruzione|uzytkownik|pytanie|odpowiedz|kullanici|soru|cevap"
    r"|vraag|antwoord|gebruiker|pengguna|pertanyaan|jawaban|nguoi dung|cau hoi|tra loi"
    r"|المستخدم|المساعد|ال?سوال|ال?جواب|الاجابه|प्रश्न|उत्तर|सवाल|जवाब"
)
"""Roles, as letters are compared: without accents."""
# A role ends with a colon, and one may stand behind the other; or it has a line to itself.
_MARKER = rf"\b(?:{_ROLE}|{_SPEAKER})(?: ?\d{{1,3}})?[*_\])}}>]* *(?:says?|said|asks?|asked)? *:"
_BEFORE_ROLE = r"[ \t#>*_\[(<{-]*"
_MARKERS = rf"(?m)^(?:{_BEFORE_ROLE}{_MARKER}[ \t*_]*)+"
# Behind a text, where a model is to go on; others may end what somebody asks ("train the model:").
_MARKER_AT_END = rf"(?:\s*#+ *(?:{_ROLE}|{_SPEAKER})|\s+(?:assistant|chatbot|chatgpt)) *:\s*$"
_ROLE_AT_END = rf"(?:{_ROLE})[ \t*_\])]*$"
_ROLE_LINES = rf"(?m)^[ \t#>*_\[(-]*{_ROLE_AT_END}"
_IN_BRACKETS = rf"[\[({{<](?:{_ROLE}|question|prompt|query)[\])}}>]"
_ROLES_IN_BRACKETS = rf"(?m)^[ \t]*{_IN_BRACKETS}"
# Lines that somebody numbered, or that are the items of a list.
_NUMBERED = (
    r"(?m)^[ \t]*(?:q?\d{1,4}[.):|\t]|[(\[]\d{1,4}[)\]]|\(?[a-z]\)|#\d{1,4}[:.)]?)[ \t]+"
    r"|(?m)^[ \t]*\d{1,4}、"
)
_BULLETS = "•‣◦⁃∙·●○▪▫■□◆◇★☆►▶➢➤→⇒✓✔✅☑"
_ITEMS = rf"(?m)^[ \t]*(?:[{_BULLETS}]+|[①-⒛❶-➓]|\d{{1,4}}．)[ \t]*"
_MAY_BE_ITEMS = f"[{_BULLETS}①-⒛❶-➓．]"
_DOTS = "[·•‧∙⋅・●▪]"
_FENCE = "```|'''"
_FENCES = r"(?m)^[ \t]*(?:`{3,}|'{3,})[ \t]*[a-z0-9+#-]*[ \t]*$"
_COLORS = r"\x1b\[[0-9;]*m"
_ELEMENT = re.compile(
    r"<(?P<tag>[a-z][\w-]*)(?:\s[^<>]*)?>(?P<text>.*)</(?P=tag)>"
    r"|\[(?P<code>[a-z][\w-]*)(?:=[^\[\]]*)?\](?P<quoted>.*)\[/(?P=code)\]"
    r"|\[?\s*\{\s*(?:[\"'](?:role|from)[\"']\s*:\s*[\"'](?:user|human)[\"']\s*,\s*)?"
    r"[\"'](?:content|value|prompt|instruction|question|query|text)[\"']\s*:\s*"
    r"(?P<mark>[\"'])(?P<said>.*)(?P=mark)\s*\}(?:\s*\])?",
    re.DOTALL,
)
_MAY_BE_ELEMENT = r"^\s*[<\[{][\s\S]*[>\]}]\s*$"
_BOILERPLATE = (
    r"^(?:you are (?:a helpful|an)(?: ai)? assistant\.? "
    r"|a chat between a curious (?:user|human) and an artificial intelligence assistant\. the "
    r"assistant gives helpful, detailed,? and polite answers to the (?:user|human)'s questions\. "
    r"|below is an instruction that describes a task(?:, paired with an input that provides "
    r"further context)?\. write a response that appropriately completes the request\. "
    r"|cutting knowledge date: [a-z]+ \d{4} today date: \d\d? [a-z]+ \d{4} )+(?:(?:user|human): )?"
)
"""What well-known templates say before every prompt."""
_MAY_BE_BOILERPLATE = "^(?:you are a|a chat between|below is|cutting)"
_FINAL = " .,;:!?…。、؟،؛۔।॥။።፧‼⁇⁈⁉"
"""What ends a sentence, in one script or another."""
_BEGINS = "^[¿¡>*+•#/-]"
_FIRST = r"^(?:[¿¡ ]|(?:>+|[*+•]|->?|//|#{1,6}) )+"
_OPENS, _CLOSES = "\"'`*_~|=$-([{<「『《【〈〔", "\"'`*_~|=$-)]}>」』》】〉〕"
"""Marks that a whole text may stand in, and the partner of each."""
_OPENED = f"^[{re.escape(_OPENS)}]"
_AROUND = "|".join(
    f"^{re.escape(first)}+(.+?){re.escape(last)}+$"
    for first, last in zip(_OPENS, _CLOSES, strict=True)
)
_WITHIN = "".join(f"${{{number}}}" for number in range(1, len(_OPENS) + 1))
_DEEPEST = 4
"""Pairs of marks or tags that a text may stand in, such as those of bold text in quotes."""
_TWICE = (7, 200)
"""Characters of a text that says a thing twice; in longer ones it is found as a part."""


def without_bullets(texts: pl.Series) -> pl.Series:
    """Leave out signs before the items of a list, and dots between words.

    Parameters
    ----------
    texts
        ``n`` texts as they were typed, before NFKC makes numbers of numbers in circles.
    """
    plain = replaced(texts, _ITEMS, " ", only=_MAY_BE_ITEMS)
    return plain.str.replace_all(_DOTS, " ")


def unwrapped(texts: pl.Series) -> pl.Series:
    """Leave out what stands around texts; each is one line then.

    Parameters
    ----------
    texts
        ``n`` texts in lower case, letters as they are compared. One that is nothing but such marks
        is empty.
    """
    bare = replaced(texts, _COLORS, "", only="\x1b")
    bare = replaced(bare, _TOKENS, "\n", only=r"[<\[]")
    bare = where(bare, bare.str.contains(_MAY_BE_ELEMENT), each(_within_elements))
    bare = replaced(bare, _FENCES, " ", only=_FENCE)
    # What begins with a line is slow to find: only texts that have it anywhere are looked at.
    bare = replaced(bare, _MARKERS, " ", only=_MARKER)
    bare = replaced(bare, _MARKER_AT_END, " ", only=_MARKER)
    bare = replaced(bare, _ROLE_LINES, " ", only=f"(?m){_ROLE_AT_END}")
    bare = replaced(bare, _ROLES_IN_BRACKETS, " ", only=_IN_BRACKETS)
    bare = blanks_as_one(bare.str.replace_all(_NUMBERED, " "))
    bare = replaced(bare, _BOILERPLATE, "", only=_MAY_BE_BOILERPLATE)
    return _without_ends(unspaced(_told_once(bare)))


def _within_elements(text: str) -> str:
    """Take what stands in a tag of HTML or of a forum, or in a record of JSON or Python."""
    for _ in range(_DEEPEST):
        if not (found := _ELEMENT.fullmatch(text.strip())):
            break
        text = found["text"] or found["quoted"] or found["said"] or ""
    return text


def _told_once(texts: pl.Series) -> pl.Series:
    """Leave out the second half of a short text that says the first once more."""
    sizes = texts.str.len_chars()
    short = (sizes % 2 == 1) & sizes.is_between(*_TWICE)
    return where(texts, short, each(_first_half))


def _first_half(text: str) -> str:
    half = len(text) // 2
    return text[:half] if text[:half] == text[half + 1 :] and text[half] == " " else text


def _without_ends(texts: pl.Series, deepest: int = _DEEPEST) -> pl.Series:
    """Leave out punctuation at the ends, and marks around the whole of a text, such as quotes."""
    begins = texts.str.contains(_BEGINS)
    plain = where(texts, begins, lambda t: t.str.replace(_FIRST, "")).str.strip_chars_end(_FINAL)
    if not deepest:
        return plain
    return where(
        plain,
        plain.str.contains(_OPENED),
        lambda t: _without_ends(t.str.replace(_AROUND, _WITHIN).str.strip_chars(" "), deepest - 1),
    )
