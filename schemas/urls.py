"""What is a URL, and what of it may be shown: a dataset must not name the key to where it came from."""

from __future__ import annotations

import re
from pathlib import Path

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s'\"<>)]+")
_HOST = re.compile(r"(\[[^\]]*\]|[^:]*)(:\d+)?")


def is_url(text: str) -> bool:
    """True for `scheme://…`; a Windows drive or a name with a colon is none."""
    scheme, separator, _ = text.partition("://")
    return bool(separator) and len(scheme) > 1 and scheme.isalnum()


def place_of(text: str) -> Path | str:
    """What a user names: a URL as it is, anything else as a path."""
    return text if is_url(text) else Path(text)


def public_url(url: str) -> str:
    """The URL without user, password, query and fragment; a text that is no URL stays as it is.

    No query is kept: which of its parts are a signature only the host knows.
    """
    scheme, separator, rest = url.partition("://")
    if not separator:
        return url
    authority, slash, path = re.split(r"[?#]", rest, maxsplit=1)[0].partition("/")
    host = authority.rpartition("@")[2]
    found = _HOST.match(host)
    return f"{scheme}://{found.group() if found else ''}{slash}{path}"


def told(text: str, url: str = "") -> str:
    """A message with every URL in it as `public_url` shows it, and nothing of this URL's secrets."""
    text = _URL.sub(lambda found: public_url(found.group()), text)
    rest = url.partition("://")[2]
    query = rest.partition("?")[2].partition("#")[0]
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    user, at, _ = authority.rpartition("@")
    for secret in (query, user if at else "", user.partition(":")[2]):
        if secret:
            text = text.replace(secret, "…")
    return text
