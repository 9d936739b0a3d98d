"""What is never stored or shown: tokens, passwords and their like, told by the names of their keys.

A text under such a name is left out of what is stored, and masked wherever something is told. The
password in a web address and the token in a header count too, wherever they stand, and so does a
token that shows by its form what it is.
"""

from __future__ import annotations

import os
import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    Edit = Callable[[str, tuple[str, ...], bool], Any]

MASK = "***"

_SECRETS = frozenset(
    """
    password passwords passwd passphrase pwd passcode secret secrets credential credentials
    authorization apikey apikeys accesstoken authtoken cookie cookies jwt dsn
    """.split()  # noqa: SIM905 - a list of one word a line is no easier to read
)
"""Last words of the names of secrets."""
_ALONE = frozenset({"token", "auth", "bearer", "pass"})
"""Words that name a secret where nothing stands beside them."""
_OPENERS = frozenset(
    """
    api access secret private auth oauth account service subscription license encryption signing
    ssh rsa openai anthropic hf hub huggingface wandb kaggle github gitlab azure google gemini
    mistral cohere groq together aws replicate slack openrouter deepseek
    """.split()  # noqa: SIM905 - a list of one word a line is no easier to read
)
"""Words before a ``key`` or ``token`` that opens something: what it is for, or whose it is."""
_PAIRS = {
    "key": _OPENERS | {"master", "deploy", "app"},
    "token": _OPENERS | {"bearer", "refresh", "session", "personal", "security"},
    "pass": frozenset({"db", "database", "user", "smtp", "ftp", "admin", "login"}),
    "string": frozenset({"connection"}),
}
"""Last words that name a secret after certain others: a ``pad_token`` or ``sort_key`` is none."""
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
_TOKEN = re.compile(
    r"(?:hf|api_org)_[A-Za-z0-9]{30,}|sk-(?=[\w-]*\d)[\w-]{20,}|gh[opsur]_[A-Za-z0-9]{30,}"
    r"|github_pat_\w{30,}|glpat-[\w-]{20,}|xox[abeprs]-[\w-]{10,}|xapp-[\w-]{20,}"
    r"|A[KS]IA[0-9A-Z]{16}|AIza[\w-]{35}|ya29\.[\w-]{20,}|npm_[A-Za-z0-9]{36}|pypi-AgE[\w-]{50,}"
    r"|[rs]k_live_[A-Za-z0-9]{20,}|eyJ[\w-]{10,}\.[\w-]{10,}\.[\w-]+"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)",
    re.ASCII | re.DOTALL,
)
"""Tokens that show what they are: of Hugging Face, OpenAI, GitHub, GitLab, Slack, AWS, Google, npm,
PyPI, Stripe; JWTs; private keys."""
_INSIDE = re.compile(rf"(?<![\w-])(?:{_TOKEN.pattern})", _TOKEN.flags)
_OF_ENVIRONMENT = 8
"""Characters of a secret in the environment that is looked for: shorter ones are words, too."""
_HOME = "~"
_DIRECTORY = "PWD"
"""The current directory, by whose name shells mean no password."""
_SIGNATURES = ("sig", "signature", "key", "x-amz-signature")
_KNOWN: set[str] = set()
"""Secrets that this process has read: a library may repeat them in what it says."""


def is_secret_name(name: str) -> bool:
    """Say whether a text under a name is a secret: by its last words, as they are used for secrets.

    Examples
    --------
    >>> [is_secret_name(name) for name in ("api_token", "X-Api-Key", "hfToken", "clientSecret")]
    [True, True, True, True]
    >>> [is_secret_name(name) for name in ("pool_token", "max_pass", "shared_key", "token_path")]
    [False, False, False, False]
    """
    words = _words(name)
    while len(words) > 1 and words[-1].isdigit():
        words.pop()
    if not words:
        return False
    before, last = (["", *words])[-2:]
    if not before and last in _ALONE:
        return True
    return last in _SECRETS or before in _PAIRS.get(last.removesuffix("s"), _PAIRS.get(last, ()))


_is_secret_name = lru_cache(maxsize=4096)(is_secret_name)
"""The environment has the same names each time."""


def masked(value: Any, name: str = "") -> Any:
    """Give a value with its secrets masked: for people to read."""
    return _edited(value, name, lambda _: MASK)


def without_secrets(value: Any) -> Any:
    """Give a value of tables and lists without its secrets: for keys and manifests.

    What stands under the name of a secret and is no text stays: a number or a flag is none. Where
    nothing is given (None) it goes too, as if a secret were there.
    """
    return _without(value, secret=False)


def _without(value: Any, *, secret: bool) -> Any:
    if isinstance(value, dict):
        under = {name: secret or is_secret_name(name) for name in value}
        return {
            name: _without(item, secret=under[name])
            for name, item in value.items()
            if not _is_hidden(item, secret=under[name])
        }
    if isinstance(value, list | tuple):
        return [_without(x, secret=secret) for x in value if not _is_hidden(x, secret=secret)]
    return mask_text(value) if isinstance(value, str) else value


def _is_hidden(value: Any, *, secret: bool) -> bool:
    if isinstance(value, str):
        return secret or _INSIDE.search(value) is not None
    return is_reference(value) or (secret and value is None)


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
    """Mask the secrets of a message, and shorten the user's home directory to ``~``.

    Secrets are those that this process has read, those that stand in the environment under the name
    of one, and those that show what they are.
    """
    for secret in sorted(_KNOWN | _in_environment(), key=len, reverse=True):
        text = text.replace(secret, MASK)
    return without_home(_INSIDE.sub(MASK, mask_text(text)))


def without_home(text: str) -> str:
    """Write the user's home directory as ``~``: its name is the user's.

    Examples
    --------
    >>> import os
    >>> without_home(f"cannot read {os.path.expanduser('~')}/x.csv")
    'cannot read ~/x.csv'
    """
    home = os.path.expanduser("~").rstrip("/\\")  # noqa: PTH111 - Path.home() raises without one
    if len(home) < 2 or home not in text:
        return text
    return re.sub(rf"(?<![\w.~/\\-]){re.escape(home)}(?![\w.-])", _HOME, text)


def _in_environment() -> set[str]:
    """Give the secrets of the environment, by the names that they have there."""
    return {
        value
        for name, value in os.environ.items()
        if len(value) >= _OF_ENVIRONMENT and name != _DIRECTORY and _is_secret_name(name)
    }


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


def edit_secrets(value: Any, edit: Edit) -> Any:
    """Put something else in the place of each secret text.

    Parameters
    ----------
    value
        Tables, lists and plain values.
    edit
        ``edit(secret, place, whole)``: the text, the names of the keys that lead to it, and whether
        it is all of what stands there. References are left as they are.
    """
    return _walk(value, "", (), edit, secret=False)


def _edited(value: Any, name: str, edit: Callable[[str], Any]) -> Any:
    return _walk(value, name, (), lambda secret, *_: edit(secret), secret=is_secret_name(name))


def _walk(
    value: Any,
    name: str,
    place: tuple[str, ...],
    edit: Edit,
    *,
    secret: bool,
) -> Any:
    if is_reference(value):
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
    if not isinstance(value, str) or not value:
        return value
    if secret or _INSIDE.search(value):
        return edit(value, place, True)
    return mask_text(value, lambda part: edit(part, place, False))


def _words(name: str) -> list[str]:
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name)
    return [word for word in re.split(r"[^a-z0-9]+", spaced.lower()) if word]
