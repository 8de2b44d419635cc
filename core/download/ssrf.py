"""An HTTP client that connects to no private address (server-side request forgery)."""

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

MAX_REDIRECTS = 5
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_GLOBAL_UNICAST = ipaddress.ip_network("2000::/3")
"""All public IPv6 addresses (RFC 4291); outside of it are deprecated forms of IPv4 addresses."""
_PRIVATE_SUFFIXES = (
    ".localhost",
    ".local",
    ".internal",
    ".intranet",
    ".private",
    ".corp",
    ".home",
    ".lan",
    ".home.arpa",
)
"""Suffixes of names that are never public (RFC 6762, RFC 8375, ICANN's .internal)."""
_REDIRECT_STATUS = (301, 302, 303, 307, 308)


class UnreachableError(LlmtuiError):
    """A file cannot be downloaded from its URL."""

    doing = "fetch the file"


class GuardedClient:
    """An HTTP client that follows redirects, checks every address and uses the proxies of the environment."""

    def __init__(self, connect_seconds: float, read_seconds: float) -> None:
        self._timeout = urllib3.Timeout(connect=connect_seconds, read=read_seconds)
        self._managers: dict[str, urllib3.PoolManager] = {}

    def get(self, url: str, headers: dict[str, str]) -> urllib3.BaseHTTPResponse:
        """Send a GET request, following redirects; the body of the response is not read yet and stays encoded.

        Raises UnreachableError for an address that must not be requested, and urllib3's errors.
        """
        headers = {"User-Agent": f"llmtui/{__version__}", "Accept-Encoding": "identity", **headers}
        for _ in range(MAX_REDIRECTS + 1):
            response = self._manager(url).request(
                "GET",
                url,
                headers=headers,
                redirect=False,
                retries=False,
                preload_content=False,
                decode_content=False,
                timeout=self._timeout,
            )
            location = response.headers.get("Location")
            if response.status not in _REDIRECT_STATUS or not location:
                return response
            response.close()
            try:
                url = check_url(urljoin(url, location))
            except UnknownSourceError as error:
                raise UnreachableError(
                    f"the server redirects to a URL that must not be read: {error.what}", where=error.where
                ) from None
        raise UnreachableError(f"the server redirects more than {MAX_REDIRECTS} times", where=redact_url(url))

    def _manager(self, url: str) -> urllib3.PoolManager:
        parts = urlsplit(url)
        host = parts.hostname or ""
        proxies = urllib.request.getproxies()
        proxy = proxies.get(parts.scheme) or proxies.get("all") or ""
        if proxy and urllib.request.proxy_bypass(host):
            proxy = ""
        if proxy:
            # the proxy makes the connection: only the name can be checked
            _check_name(host, url)
        if proxy not in self._managers:
            self._managers[proxy] = _proxy_manager(proxy) if proxy else _direct_manager()
        return self._managers[proxy]


def check_address(address: str, where: str) -> None:
    """Raise UnreachableError for an IP address of this machine or its network, unless that is allowed."""
    if not private_urls_allowed() and not _is_public(address):
        raise _private_error(address, where)


def _private_error(host: str, where: str) -> UnreachableError:
    return UnreachableError(
        f"it leads to {host}, inside this machine's own network",
        where=where,
        todo=f"fetch the file yourself, or set {PRIVATE_URLS}=1 for a server you trust",
    )


def _is_public(address: str) -> bool:
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        # addresses that embed an IPv4 address
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
    """Raise UnreachableError if a proxy, which resolves `host` itself, would connect to a private address."""
    try:
        addresses = socket.getaddrinfo(host, None)
    except (OSError, UnicodeError):
        # unknown here, but perhaps not to the proxy: names that are never public are refused
        if not private_urls_allowed() and ("." not in host.rstrip(".") or host.rstrip(".").endswith(_PRIVATE_SUFFIXES)):
            raise _private_error(host, redact_url(url)) from None
        return
    for *_, address in addresses:
        check_address(str(address[0]), redact_url(url))


class _Guarded(HTTPConnection):
    """Checks every address it connects to, each time: a name may resolve to another address (DNS rebinding)."""

    def _new_conn(self) -> socket.socket:
        name, blocked, failed = self._dns_host, None, None
        try:
            addresses = socket.getaddrinfo(name.strip("[]"), self.port, type=socket.SOCK_STREAM)
        except socket.gaierror as error:
            raise NameResolutionError(self.host, self, error) from error
        except UnicodeError:
            raise LocationParseError(f"{name!r}, label empty or too long") from None
        for *_, address in addresses:
            try:
                check_address(str(address[0]), name)
            except UnreachableError as error:
                blocked = error
                continue
            self._dns_host = str(address[0])  # an address is not resolved again
            try:
                return super()._new_conn()
            except (NewConnectionError, ConnectTimeoutError) as error:
                failed = error
            finally:
                self._dns_host = name
        raise failed or blocked or NewConnectionError(self, "the name has no address")


class _GuardedHttps(_Guarded, HTTPSConnection):
    """The same with TLS; the certificate is still checked against the name."""


class _HttpPool(HTTPConnectionPool):
    ConnectionCls = _Guarded


class _HttpsPool(HTTPSConnectionPool):
    ConnectionCls = _GuardedHttps


def _certificates() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.load_verify_locations(certifi.where())  # python.org builds for macOS have none
    return context


def _direct_manager() -> urllib3.PoolManager:
    manager = urllib3.PoolManager(ssl_context=_certificates())
    manager.pool_classes_by_scheme = {"http": _HttpPool, "https": _HttpsPool}
    return manager


def _proxy_manager(proxy: str) -> urllib3.PoolManager:
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
    address = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
    return urllib3.ProxyManager(address, proxy_headers=headers, ssl_context=_certificates())
