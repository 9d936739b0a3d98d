"""What is never stored or shown: tokens, passwords and their like, told by the names of their keys.

A value under such a name is left out of keys and manifests (it decides no result, so another token
refits nothing) and masked wherever something is told. The password in a web address and the token
in a header count too, wherever they stand.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

MASK = "***"

_SECRET_WORDS = frozenset(
    """
    password passwords passwd passphrase pwd pass passcode secret secrets credential
    credentials authorization authentication auth bearer apikey apikeys cookie cookies jwt
    otp dsn
    """.split()  # noqa: SIM905 - a list of one word a line is no easier to read
)
_KEY_KINDS = frozenset(
    """
    api access secret private auth account encryption signing subscription service master
    ssh rsa shared license session security storage client app deploy openai anthropic hf
    huggingface wandb kaggle azure google gemini mistral cohere groq together aws
    """.split()  # noqa: SIM905 - a list of one word a line is no easier to read
)
"""Words that make a ``key`` beside them one that opens something."""
_TEXT_TOKENS = frozenset(
    """
    pad padding mask eos bos sep separator cls unk unknown special stop start end begin
    first last next prev image audio video class prefix suffix response answer prompt query
    instruction per added additional extra new turn assistant system role think tool control
    sentinel label verbalizer word sub by yes no a b tie choice option target positive
    negative true false
    """.split()  # noqa: SIM905 - a list of one word a line is no easier to read
)
"""Words that make a ``token`` beside them one of a text."""
_ABOUT = frozenset(
    """
    path file dir directory folder column field name names env length count size limit ratio
    fraction url uri endpoint type kind id_column
    """.split()  # noqa: SIM905 - a list of one word a line is no easier to read
)
"""Last words of names that are about a secret, and hold none."""
_SMALLEST = 5
"""Characters of a secret that is looked for in messages: shorter ones stand in other words."""

_CREDENTIALS = re.compile(
    r"(?P<head>\b[A-Za-z][A-Za-z0-9+.-]*:/{1,2}[^\s/?#@:]*:)(?P<secret>[^\s/?#]+)(?=@)"
)
_BARE = re.compile(r"(?P<head>\b[A-Za-z][A-Za-z0-9+.-]*:/{1,2})(?P<secret>[^\s/?#@:]{16,})(?=@)")
_HEADER = re.compile(
    r"(?P<head>\b(?:proxy-)?authorization\s*[:=]\s*(?:\w+\s+)?|\bbearer\s+)"
    r"(?P<secret>[A-Za-z0-9._~+/=$\{\}*-]{3,})",
    re.IGNORECASE,
)
_QUERY = re.compile(r"(?P<head>[?&](?P<name>[\w.-]+)=)(?P<secret>[^&\s#]+)")
_SIGNATURES = ("sig", "signature", "key", "x-amz-signature")
_KNOWN: set[str] = set()
"""Secrets that this process has read: a library may repeat them in what it says."""


def is_secret_name(name: str) -> bool:
    """Say whether what stands under a name is a secret.

    Examples
    --------
    >>> [is_secret_name(name) for name in ("api_token", "X-Api-Key", "hfToken", "clientSecret")]
    [True, True, True, True]
    >>> [is_secret_name(name) for name in ("max_tokens", "pad_token", "key", "token_path")]
    [False, False, False, False]
    """
    words = _words(name)
    if not words or words[-1] in _ABOUT:
        return False
    if _SECRET_WORDS & set(words) or "connection_string" in "_".join(words):
        return True
    pairs = list(zip(["", *words], words, strict=False))
    if any(word in ("key", "keys") and before in _KEY_KINDS for before, word in pairs):
        return True
    before, last = pairs[-1]
    plural = last == "tokens" and before in _KEY_KINDS
    return plural or last == "accesstoken" or (last == "token" and before not in _TEXT_TOKENS)


def masked(value: Any, name: str = "") -> Any:
    """Give a value with its secrets masked: for people to read."""
    return _edited(value, name, lambda _: MASK)


def without_secrets(value: Any) -> Any:
    """Give a value of tables and lists without its secrets: for keys and manifests."""
    if isinstance(value, dict):
        kept = {k: v for k, v in value.items() if not (is_secret_name(k) and _may_be_secret(k, v))}
        return {name: without_secrets(item) for name, item in kept.items()}
    if isinstance(value, list | tuple):
        return [without_secrets(item) for item in value]
    return mask_text(value) if isinstance(value, str) else value


def mask_text(text: str, mask: Callable[[str], str] = lambda _: MASK) -> str:
    """Mask what of a text is a secret wherever it stands: in web addresses and headers.

    Parameters
    ----------
    text
        Any text.
    mask
        What to put in the place of each secret.
    """

    def put(found: re.Match[str]) -> str:
        secret = found["secret"]
        return found["head"] + (secret if secret == MASK else mask(secret))

    def put_named(found: re.Match[str]) -> str:
        is_one = is_secret_name(found["name"]) or found["name"].lower() in _SIGNATURES
        return put(found) if is_one else found.group()

    if ":/" in text:
        text = _QUERY.sub(put_named, _BARE.sub(put, _CREDENTIALS.sub(put, text)))
    return _HEADER.sub(put, text) if "uthorization" in text or "earer" in text.lower() else text


def remember_secrets(value: Any, name: str = "") -> None:
    """Note the secrets in a config, so that they are masked in whatever is told from now on."""

    def note(secret: str) -> str:
        remember_secret(secret)
        return secret

    _edited(value, name, note)


def remember_secret(secret: str) -> None:
    """Note one secret, as ``remember_secrets`` does."""
    if len(secret) >= _SMALLEST and secret != MASK and not secret.startswith("${"):
        _KNOWN.add(secret)


def redact(text: str) -> str:
    """Mask the secrets of a message: those that are known, and those that show what they are."""
    for secret in sorted(_KNOWN, key=len, reverse=True):
        text = text.replace(secret, MASK)
    return mask_text(text)


def redacted(value: Any) -> Any:
    """Mask the secrets in all texts of tables and lists."""
    if isinstance(value, dict):
        return {name: redacted(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [redacted(item) for item in value]
    return redact(value) if isinstance(value, str) else value


def is_reference(value: Any) -> bool:
    """Say whether a value is ``{ env = "NAME" }``: a secret that stands in the environment."""
    return isinstance(value, dict) and value.keys() == {"env"} and isinstance(value["env"], str)


def edit_secrets(value: Any, edit: Callable[[str, tuple[str, ...]], Any]) -> Any:
    """Put something else in the place of each secret text.

    Parameters
    ----------
    value
        Tables, lists and plain values.
    edit
        ``edit(secret, place)``: the text and the names of the keys that lead to it. References are
        left as they are.
    """
    return _walk(value, "", (), edit, secret=False)


def _edited(value: Any, name: str, edit: Callable[[str], Any]) -> Any:
    return _walk(value, name, (), lambda secret, _: edit(secret), secret=is_secret_name(name))


def _walk(
    value: Any,
    name: str,
    place: tuple[str, ...],
    edit: Callable[[str, tuple[str, ...]], Any],
    *,
    secret: bool,
) -> Any:
    if secret and is_reference(value):
        return value
    if isinstance(value, dict):
        return {
            key: _walk(item, key, (*place, key), edit, secret=secret or is_secret_name(key))
            for key, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [
            _walk(item, name, (*place, str(number)), edit, secret=secret)
            for number, item in enumerate(value, 1)
        ]
    if secret and type(value) is int and _is_password(name):
        return edit(str(value), place)
    if not isinstance(value, str) or not value:
        return value
    return edit(value, place) if secret else mask_text(value, lambda part: edit(part, place))


def _may_be_secret(name: str, value: Any) -> bool:
    """Say whether a value under a secret's name is one: no number is a token, and no flag."""
    if isinstance(value, bool | float):
        return False
    return _is_password(name) if isinstance(value, int) else True


def _is_password(name: str) -> bool:
    return bool({"password", "passwd", "pwd", "pass", "passcode", "otp"} & set(_words(name)))


def _words(name: str) -> list[str]:
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name)
    return [word for word in re.split(r"[^a-z0-9]+", spaced.lower()) if word]
