"""The wire to one server: addresses, credentials that never show, and what each failure is called."""

from __future__ import annotations

import base64
import re
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import aiohttp
import orjson
from yarl import URL

from extrap_eval.errors import UserError

PROBE_SECONDS = 30.0  # a busy API server may take seconds to answer even a small question
CONNECT_SECONDS = 30.0
OPEN_FILES = 65536
REUSE_SECONDS = 1.0  # the shortest that servers keep an idle connection is two
TCP_KEEPALIVE_SECONDS = 60  # an answer may be an hour of silence away; middleboxes forget silent connections


class Fault(Exception):
    """An attempt that failed and is worth another one.

    ``suspect``: the server itself may be gone (it is set aside until it answers again); False where it only
    asked to wait. ``stuck``: it took the request and stopped making progress. ``retry_after``: seconds it
    asked to wait.
    """

    def __init__(self, reason: str, *, suspect: bool = True, stuck: bool = False, retry_after: float = 0.0) -> None:
        super().__init__(reason)
        self.suspect = suspect
        self.stuck = stuck
        self.retry_after = retry_after


class Disbelieved(Fault):
    """An answer that contradicts itself. It may be a passing corruption; a server that goes on like that is
    not waited for.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason, suspect=False)


class NotThere(Fault):
    """HTTP 404 to a request for a completion: the server does not know the model, or has no such route."""


def _nothing() -> None:
    pass


@dataclass(frozen=True)
class Address:
    """Where a server is. ``base`` is safe to show; ``authorization`` and ``secrets`` are not."""

    base: str
    authorization: str | None = field(default=None, repr=False)
    secrets: tuple[str, ...] = field(default=(), repr=False)


def parse_address(text: str, api_key: str | None) -> Address:
    """Read an endpoint as a user writes it, with or without ``/v1``, with or without ``user:password@``.

    Credentials in the URL are sent as HTTP Basic; otherwise ``api_key`` is sent as a Bearer token. Raises
    UserError, without the credentials, for anything that is not an http(s) URL of a server.
    """
    shown = re.sub(r"//[^/]*@", "//***@", text)
    try:
        url = URL(text)
        valid = url.scheme in ("http", "https") and bool(url.host) and not url.query_string and url.port is not None
    except ValueError:
        valid = False
    if not valid:
        raise UserError(f"endpoint {shown}: not the URL of a server; write it like http://localhost:8000")
    bare = str(url.with_user(None).with_fragment(None)).rstrip("/")
    base = bare.removesuffix("/v1").rstrip("/")
    if url.user is None and url.password is None:
        authorization = f"Bearer {api_key}" if api_key else None
        return Address(base, authorization, (api_key,) if api_key else ())
    user, password = url.user or "", url.password or ""
    token = base64.b64encode(f"{user}:{password}".encode()).decode()
    secrets = tuple(s for s in (token, password, quote(password, safe=""), api_key) if s)
    return Address(base, f"Basic {token}", secrets)


def new_session() -> aiohttp.ClientSession:
    """A session without limits of its own: how many requests fly and how long they may take is decided
    above it.

    A connection is used again only right after its last answer: servers close idle ones after a few seconds,
    and a request that meets a closing connection looks exactly like a dying server.
    """
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=REUSE_SECONDS, socket_factory=_keepalive_socket),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS),
    )


def allow_open_files() -> None:
    """Let this process open as many files as the system allows, within reason: every request in flight is one,
    and the usual limit is 1024.
    """
    try:
        import resource
    except ImportError:  # not a Unix
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _keepalive_socket(address: tuple[Any, ...]) -> socket.socket:
    family, kind, protocol, _, _ = address
    sock = socket.socket(family, kind, protocol)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if hasattr(socket, "TCP_KEEPIDLE"):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, TCP_KEEPALIVE_SECONDS)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, TCP_KEEPALIVE_SECONDS)
    return sock


class Connection:
    """One server, asked over a shared session."""

    def __init__(self, session: aiohttp.ClientSession, address: Address) -> None:
        self.base = address.base
        self._session = session
        self._headers = {"Authorization": address.authorization} if address.authorization else {}
        self._secrets = address.secrets

    async def get(self, path: str) -> bytes | None:
        """The body at ``path``, None where the server has no such page. Raises Fault and UserError like
        ``post``.
        """
        timeout = aiohttp.ClientTimeout(total=PROBE_SECONDS)
        status, headers, body = await self._exchange("GET", path, None, timeout)
        if status in (404, 405):
            return None
        self._refuse_failure(path, status, headers, body)
        return body

    async def post(self, path: str, payload: dict[str, Any], arrived: Callable[[], None] = _nothing) -> Any:
        """The parsed JSON answer to ``payload`` (numpy arrays allowed), however long it takes.

        ``arrived`` is called for every piece of the answer. Raises Fault for a refused, reset or dropped
        connection, a cut or unparsable body, 404 (NotThere), 408, 429 and any 5xx; UserError, with the
        server's words, for every other refusal.
        """
        data = orjson.dumps(payload, option=orjson.OPT_SERIALIZE_NUMPY)
        status, headers, body = await self._exchange("POST", path, data, None, arrived)
        self._refuse_failure(path, status, headers, body)
        try:
            return orjson.loads(body)
        except orjson.JSONDecodeError:
            raise Fault(f"{self.base}: answer of {len(body)} bytes is not JSON") from None

    async def _exchange(
        self,
        method: str,
        path: str,
        data: bytes | None,
        timeout: aiohttp.ClientTimeout | None,
        arrived: Callable[[], None] = _nothing,
    ) -> tuple[int, Any, bytes]:
        options: dict[str, Any] = {"timeout": timeout} if timeout else {}
        headers = self._headers | ({"Content-Type": "application/json"} if data is not None else {})
        try:
            async with self._session.request(
                method, self.base + path, data=data, headers=headers, allow_redirects=False, **options
            ) as response:
                pieces = []
                async for piece in response.content.iter_any():
                    pieces.append(piece)
                    arrived()
                return response.status, response.headers, b"".join(pieces)
        except aiohttp.ClientConnectorError as error:
            raise Fault(self._shown(f"{self.base}: {_connect_failure(error)}")) from None
        except (aiohttp.ClientError, ConnectionError) as error:
            what = str(error) or type(error).__name__
            raise Fault(self._shown(f"{self.base}: connection lost ({what})")) from None
        except TimeoutError:
            raise Fault(f"{self.base}: no answer to {path} in time") from None

    def _refuse_failure(self, path: str, status: int, headers: Any, body: bytes) -> None:
        if status == 200:
            return
        said = self._shown(f"{self.base}{path}: HTTP {status}: {_message(body)}")
        if status in (408, 429) or status >= 500:
            wait = headers.get("Retry-After", "")
            raise Fault(said, suspect=status >= 500, retry_after=float(wait) if wait.isdecimal() else 0.0)
        if status == 404:
            raise NotThere(said)
        if status in (401, 403):
            said += " (the API key is read from the environment)"
        raise UserError(said)

    def _shown(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return text


def _connect_failure(error: aiohttp.ClientConnectorError) -> str:
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "host name not found"
    if isinstance(error.os_error, ConnectionRefusedError):
        return "connection refused"
    return f"cannot connect ({error.os_error.strerror or type(error).__name__})"


def _message(body: bytes) -> str:
    """What the server says is wrong: the known places of a message in a JSON error, else the start of the
    body.
    """
    try:
        said = orjson.loads(body)
    except orjson.JSONDecodeError:
        said = body.decode(errors="replace")
    for key in ("error", "message", "detail"):
        if isinstance(said, dict) and key in said:
            said = said[key]
    return " ".join(str(said).split())[:500] or "no reason given"
