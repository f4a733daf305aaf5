"""The files of the page: what a browser may keep for ever has their hash in its path.

They are plain HTML, CSS and JavaScript modules without a build step, and bring along all that they
need. Nobody is asked who calls: the files are the same for all, and hold no figures of a service.
"""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from hashlib import sha256
from importlib.resources import files
from typing import TYPE_CHECKING, Final

from routoo.api.http.door import Door
from routoo.api.http.problem import HttpError, send_problem

if TYPE_CHECKING:
    from routoo.api.http.call import Headers, HttpCall

PREFIX: Final = "/console/"
_PAGE: Final = "index.html"
_BASE: Final = b"{{base}}"
_TYPES: Final = {
    ".css": b"text/css; charset=utf-8",
    ".html": b"text/html; charset=utf-8",
    ".js": b"text/javascript; charset=utf-8",
    ".svg": b"image/svg+xml",
}
_POLICY: Final = (
    b"default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'none';"
    b" frame-ancestors 'none'"
)
_SAFE: Final[Headers] = (
    (b"content-security-policy", _POLICY),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"vary", b"accept-encoding"),
)
_FOR_EVER: Final = (b"cache-control", b"public, max-age=31536000, immutable")
_ASK_AGAIN: Final = (b"cache-control", b"no-cache")


@dataclass(frozen=True, slots=True)
class _File:
    """A file as it is sent: plain and compressed, with its type and its tag."""

    body: bytes
    packed: bytes
    kind: bytes
    tag: bytes

    @classmethod
    def of(cls, name: str, body: bytes) -> _File:
        """Makes the file of a name, which tells its type."""
        kind = _TYPES[name[name.rindex(".") :]]
        tag = b'"%s"' % sha256(body).hexdigest()[:16].encode()
        return cls(body, gzip.compress(body, mtime=0), kind, tag)

    async def send(self, call: HttpCall, caching: tuple[bytes, bytes]) -> None:
        """Replies with the file; with its tag alone, where the caller has it."""
        headers = (*_SAFE, caching, (b"etag", self.tag))
        if self.tag in call.headers.get(b"if-none-match", b""):
            await call.reply(304, b"", self.kind, headers)
        elif b"gzip" in call.headers.get(b"accept-encoding", b""):
            packed = (*headers, (b"content-encoding", b"gzip"))
            await call.reply(200, self.packed, self.kind, packed)
        else:
            await call.reply(200, self.body, self.kind, headers)


def page_doors() -> list[Door]:
    """Returns the doors of the page and of its files."""
    folder = files("routoo.api.http.console").joinpath("page")
    bodies = {
        one.name: one.read_bytes()
        for one in sorted(folder.iterdir(), key=lambda one: one.name)
        if one.name.endswith(tuple(_TYPES))
    }
    digest = sha256(b"".join(bodies.values())).hexdigest()[:16]
    base = f"{PREFIX}{digest}/"
    page = _File.of(_PAGE, bodies.pop(_PAGE).replace(_BASE, base.encode()))
    found = {name: _File.of(name, body) for name, body in bodies.items()}

    async def show(call: HttpCall) -> None:
        await page.send(call, _ASK_AGAIN)

    async def give(call: HttpCall) -> None:
        told, _, name = call.path.removeprefix(PREFIX).partition("/")
        file = found.get(name)
        if file is None:
            await send_problem(call, HttpError(404, "the page has no such file; reload it"), "")
            return
        # A page of another version asks during an update; what it gets is not to be kept.
        await file.send(call, _FOR_EVER if told == digest else _ASK_AGAIN)

    return [Door("GET", "/", show), Door("GET", f"{PREFIX}*", give)]
