"""Asking for a URL without being led into the own network."""

from __future__ import annotations

import ipaddress
import socket
import ssl
import urllib.request
from typing import Any
from urllib.parse import unquote, urljoin, urlsplit

import certifi
import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import ConnectTimeoutError, LocationParseError, NameResolutionError, NewConnectionError

from core import __version__
from core.errors import LlmtuiError
from core.sources.catalog import PRIVATE_URLS, UnknownSourceError, check_url, private_urls_allowed, redact_url

REDIRECTS = 5
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_GLOBAL_UNICAST = ipaddress.ip_network("2000::/3")
"""All of IPv6 that is public (RFC 4291); outside of it lie forms of IPv4's addresses that are used no more."""
_INSIDE = (".localhost", ".local", ".internal", ".intranet", ".private", ".corp", ".home", ".lan", ".home.arpa")
"""Ends of names that are never public (RFC 6762, RFC 8375, ICANN's .internal)."""
_MOVED = (301, 302, 303, 307, 308)


class UnreachableError(LlmtuiError):
    """The file behind a URL cannot be had."""

    doing = "fetch the file"


class Client:
    """Asks servers, over the proxies of the environment where it names some."""

    def __init__(self, connect_seconds: float, stall_seconds: float) -> None:
        self._timeout = urllib3.Timeout(connect=connect_seconds, read=stall_seconds)
        self._managers: dict[str, urllib3.PoolManager] = {}

    def get(self, url: str, headers: dict[str, str]) -> urllib3.BaseHTTPResponse:
        """The answer to a GET, its body still unread and as the server sent it; redirects are followed.

        Raises UnreachableError where the address may not be asked, urllib3's errors where nobody answers.
        """
        headers = {"User-Agent": f"llmtui/{__version__}", "Accept-Encoding": "identity", **headers}
        for _ in range(REDIRECTS + 1):
            answer = self._manager(url).request(
                "GET",
                url,
                headers=headers,
                redirect=False,
                retries=False,
                preload_content=False,
                decode_content=False,
                timeout=self._timeout,
            )
            place = answer.headers.get("Location")
            if answer.status not in _MOVED or not place:
                return answer
            answer.close()
            try:
                url = check_url(urljoin(url, place))
            except UnknownSourceError as trouble:
                raise UnreachableError(
                    f"the server sends us on to where nothing may be read: {trouble.what}", where=trouble.where
                ) from None
        raise UnreachableError(f"the server sends us on more than {REDIRECTS} times", where=redact_url(url))

    def _manager(self, url: str) -> urllib3.PoolManager:
        parts = urlsplit(url)
        host = parts.hostname or ""
        proxies = urllib.request.getproxies()
        proxy = proxies.get(parts.scheme) or proxies.get("all") or ""
        if proxy and urllib.request.proxy_bypass(host):
            proxy = ""
        if proxy:
            # the proxy connects for us: only the name can be looked at
            _check_name(host, url)
        if proxy not in self._managers:
            self._managers[proxy] = _proxied(proxy) if proxy else _direct()
        return self._managers[proxy]


def check_address(address: str, shown: str) -> None:
    """Raise UnreachableError for an IP address inside the own network or machine, unless that is allowed."""
    if not private_urls_allowed() and not _is_public(address):
        raise _inside(address, shown)


def _inside(place: str, shown: str) -> UnreachableError:
    return UnreachableError(
        f"it leads to {place}, inside this machine's own network",
        where=shown,
        todo=f"fetch the file yourself, or set {PRIVATE_URLS}=1 for a server you trust",
    )


def _is_public(address: str) -> bool:
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        # addresses that stand for one of IPv4
        inner = ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else None)
        if ip in _NAT64:
            inner = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if inner is not None and not _is_public(str(inner)):
            return False
        if ip.ipv4_mapped is not None or ip in _NAT64:
            return True
        if ip not in _GLOBAL_UNICAST:
            return False
    return ip.is_global and not ip.is_multicast


def _check_name(host: str, url: str) -> None:
    """Raise UnreachableError where a proxy, which looks `host` up for itself, would be led inside."""
    try:
        found = socket.getaddrinfo(host, None)
    except (OSError, UnicodeError):
        # unknown here, and perhaps not to the proxy: names that are never public are not asked for
        if not private_urls_allowed() and ("." not in host.rstrip(".") or host.rstrip(".").endswith(_INSIDE)):
            raise _inside(host, redact_url(url)) from None
        return
    for *_, place in found:
        check_address(str(place[0]), redact_url(url))


class _Guarded(HTTPConnection):
    """Connects only to addresses that have been checked: each time, since a name can mean another one each time."""

    def _new_conn(self) -> socket.socket:
        name, refusal, failure = self._dns_host, None, None
        try:
            found = socket.getaddrinfo(name.strip("[]"), self.port, type=socket.SOCK_STREAM)
        except socket.gaierror as error:
            raise NameResolutionError(self.host, self, error) from error
        except UnicodeError:
            raise LocationParseError(f"{name!r}, label empty or too long") from None
        for *_, place in found:
            try:
                check_address(str(place[0]), name)
            except UnreachableError as trouble:
                refusal = trouble
                continue
            self._dns_host = str(place[0])  # which is not looked up again
            try:
                return super()._new_conn()
            except (NewConnectionError, ConnectTimeoutError) as error:
                failure = error
            finally:
                self._dns_host = name
        raise failure or refusal or NewConnectionError(self, "the name has no address")


class _GuardedHttps(_Guarded, HTTPSConnection):
    """The same; whom the server has to prove to be is still asked by name."""


class _HttpPool(HTTPConnectionPool):
    ConnectionCls = _Guarded


class _HttpsPool(HTTPSConnectionPool):
    ConnectionCls = _GuardedHttps


def _certificates() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.load_verify_locations(certifi.where())  # Python on macOS comes without any
    return context


def _direct() -> urllib3.PoolManager:
    manager = urllib3.PoolManager(ssl_context=_certificates())
    manager.pool_classes_by_scheme = {"http": _HttpPool, "https": _HttpsPool}
    return manager


def _proxied(proxy: str) -> urllib3.PoolManager:
    parts = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
    if parts.scheme not in ("http", "https"):
        raise UnreachableError(
            f"the environment names a proxy of the kind {parts.scheme!r}, which is not supported",
            todo="name an http proxy in HTTPS_PROXY",
        )
    headers: Any = None
    if parts.username is not None:
        login = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        headers = urllib3.make_headers(proxy_basic_auth=login)
    place = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
    return urllib3.ProxyManager(place, proxy_headers=headers, ssl_context=_certificates())
