"""What counts as a URL, and which part may be shown: a dataset must not reveal the keys to its sources."""

from __future__ import annotations

import os
import re
from pathlib import Path

from corpus.schemas.errors import UsageError

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s'\"<>)]+")
_HOST = re.compile(r"(\[[^\]]*\]|[^:]*)(:\d+)?")


def is_url(text: str) -> bool:
    """True for `scheme://…`; false for a Windows drive or a name with a colon."""
    scheme, separator, _ = text.partition("://")
    return bool(separator) and len(scheme) > 1 and scheme.isalnum()


def place_of(text: str) -> Path | str:
    """A user's argument: a URL unchanged, anything else as a path.

    Raises:
        UsageError: the URL has nothing after its scheme, or has lost a slash.
    """
    if not is_url(text):
        scheme, slash, rest = text.partition(":/")
        if slash and is_url(f"{scheme}://{rest}") and not os.path.isdir(f"{scheme}:"):
            what = "is neither a URL nor a folder that is there"
            raise UsageError(what, where=text, todo=f"a URL has two slashes: {scheme}://{rest}")
        return Path(text)
    if not text.partition("://")[2].strip("/"):
        raise UsageError("names neither bucket nor folder", where=text, todo="give one: s3://BUCKET/FOLDER")
    return text


def public_url(url: str) -> str:
    """The URL without user, password, query and fragment; other text is unchanged.

    No part of the query is kept: only the host knows which parts are signatures.
    """
    scheme, separator, rest = url.partition("://")
    if not separator:
        return url
    authority, slash, path = re.split(r"[?#]", rest, maxsplit=1)[0].partition("/")
    host = authority.rpartition("@")[2]
    host_match = _HOST.match(host)
    return f"{scheme}://{host_match.group() if host_match else ''}{slash}{path}"


def without_password(url: str) -> str:
    """The URL without its password; unlike what is shown, it still tells one place from every other."""
    scheme, separator, rest = url.partition("://")
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    user, at, host = authority.rpartition("@")
    return f"{scheme}{separator}{user.partition(':')[0]}{at}{host}{rest[len(authority) :]}"


def told(text: str, url: str = "") -> str:
    """A message with every URL in it stripped of secrets, and without those of this URL."""
    text = _URL.sub(lambda found: public_url(found.group()), text)
    rest = url.partition("://")[2]
    query = rest.partition("?")[2].partition("#")[0]
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    user, at, _ = authority.rpartition("@")
    # Libraries quote parts of a URL in their errors: remove them wherever they appear.
    for secret in (query, user if at else "", user.partition(":")[2]):
        if secret:
            text = text.replace(secret, "…")
    return text
