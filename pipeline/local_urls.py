"""Keeping URLs in a manifest from reaching this machine or its network."""

from __future__ import annotations

import errno
import ipaddress
import socket
from typing import Any
from urllib.parse import urlsplit

from corpus.schemas.errors import MediaError
from corpus.schemas.urls import public_url

WEB = ("http", "https")
STORES = ("s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "hf")
"""Object stores: their hosts come from this machine's settings, never from the URL."""
_SILENCE_S = 60.0
_HINT = "allow it with --allow-local-urls if you trust the manifest"
LOCAL_HOST = f"the host is this machine or in a private network; {_HINT}"
_GLOBAL_UNICAST = ipaddress.ip_network("2000::/3")
"""All other addresses are local, or represent IPv4 addresses known only to a gateway."""


def refuse_local(url: str) -> None:
    """Check the scheme before anything is opened; hosts are checked on connecting, also after redirects.

    Raises:
        MediaError: the URL's scheme opens local files, or might.
    """
    scheme = urlsplit(url).scheme
    if scheme not in (*WEB, *STORES):
        reason = f"a manifest may not name URLs of the scheme {scheme!r}, which may open local files"
        raise MediaError(reason, where=public_url(url), todo=_HINT)
    # `s3://bucket/key::file:///etc/passwd`: fsspec would open the one through the other.
    if scheme in STORES and "::" in url:
        reason = "a manifest may not name a URL inside of another, which may open local files"
        raise MediaError(reason, where=public_url(url), todo=_HINT)


def is_public(host: str) -> bool:
    """True for a public address: neither this machine's nor a private network's."""
    address = ipaddress.ip_address(host.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return is_public(str(address.ipv4_mapped))
        if address not in _GLOBAL_UNICAST:
            return False
        inner = address.sixtofour or (address.teredo or (None, None))[1]
        if inner is not None and not is_public(str(inner)):
            return False
    return address.is_global and not address.is_multicast


def is_public_host(host: str) -> bool:
    """Whether all addresses of a host are public; false if it has none."""
    try:
        addresses = {str(each[4][0]) for each in socket.getaddrinfo(host, None)}
    except (OSError, ValueError):  # UnicodeError too: no name
        return False
    return bool(addresses) and all(map(is_public, addresses))


async def patient_client(**options: Any) -> Any:
    """An HTTP client whose transfers end only by silence: aiohttp itself ends each after five minutes."""
    import aiohttp

    timeout = aiohttp.ClientTimeout(total=None, sock_connect=_SILENCE_S, sock_read=_SILENCE_S)
    return aiohttp.ClientSession(**{"timeout": timeout, **options})


async def public_client(**options: Any) -> Any:
    """One that connects to public addresses only, whatever name resolved to them."""
    import aiohttp

    return await patient_client(connector=aiohttp.TCPConnector(socket_factory=_public_socket), **options)


def refusal(error: BaseException | None) -> str:
    """The refusal that caused a library's error, or "" if there was none."""
    for _ in range(8):  # libraries wrap errors in errors
        if error is None:
            break
        if _HINT in str(error):
            return LOCAL_HOST
        error = error.__cause__ or error.__context__
    return ""


def _public_socket(resolved: Any) -> socket.socket:
    # After name resolution: a check of the name could be answered differently the second time.
    family, kind, protocol, _, address = resolved
    if not is_public(str(address[0])):
        raise OSError(errno.EACCES, LOCAL_HOST)
    return socket.socket(family, kind, protocol)
