"""Bearer tokens: made at random, kept as salted hashes in a file, one JSON object a line.

A token is ``routoo_ID_SECRET``. The secret is 256 random bits, which no dictionary contains, so one
round of SHA-256 is as safe as a slow hash. It is also fast, so that callers cannot keep the service
busy with wrong tokens.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import secrets
from codecs import BOM_UTF8
from dataclasses import dataclass
from datetime import UTC, datetime
from hmac import compare_digest
from typing import TYPE_CHECKING, Any

import orjson

from routoo.api.security.caller import ADMIN, PROXY, ROUTE, Caller
from routoo.config.files import read_file
from routoo.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

_PREFIX = "routoo"
_SECRET_BYTES = 32
_TOKEN = re.compile(r"routoo_([0-9a-f]{12})_([A-Za-z0-9_-]{43})")
_ROLES = frozenset({ROUTE, ADMIN, PROXY})
_KEYS = frozenset({"id", "tenant", "roles", "salt", "sha256", "created", "expires"})


@dataclass(frozen=True, slots=True)
class StoredToken:
    """A token as it is stored: it can be checked with this, but not used.

    Attributes:
        token_id: 12 hex digits; no secret.
        caller: the caller that the token stands for.
        salt: 16 random bytes.
        digest: SHA-256 of salt and secret.
        created: the time of creation, ISO 8601 in UTC.
        expires_s: seconds since 1970 from which on it is refused; None: never.
    """

    token_id: str
    caller: Caller
    salt: bytes
    digest: bytes
    created: str
    expires_s: float | None

    def line(self) -> bytes:
        """Returns the token's line in the file."""
        values: dict[str, Any] = {
            "id": self.token_id,
            "tenant": self.caller.tenant,
            "roles": sorted(self.caller.roles),
            "salt": self.salt.hex(),
            "sha256": self.digest.hex(),
            "created": self.created,
        }
        if self.expires_s is not None:
            values["expires"] = datetime.fromtimestamp(self.expires_s, UTC).isoformat()
        return orjson.dumps(values) + b"\n"


def new_token(
    tenant: str, roles: Iterable[str], now_s: float, valid_s: float | None = None
) -> tuple[str, StoredToken]:
    """Makes a token.

    Args:
        tenant: the tenant that pays for its requests; empty: none.
        roles: ``route``, ``admin``, ``proxy``.
        now_s: seconds since 1970.
        valid_s: seconds for which it is valid; None: until it is taken off the file.

    Returns:
        The text that its holder gets, and the token as it is stored.
    """
    token_id = secrets.token_hex(6)
    secret = secrets.token_urlsafe(_SECRET_BYTES)
    salt = secrets.token_bytes(16)
    stored = StoredToken(
        token_id,
        Caller(f"token {token_id}", tenant, frozenset(roles)),
        salt,
        hashlib.sha256(salt + secret.encode()).digest(),
        datetime.fromtimestamp(now_s, UTC).isoformat(timespec="seconds"),
        None if valid_s is None else now_s + valid_s,
    )
    return f"{_PREFIX}_{token_id}_{secret}", stored


class Tokens:
    """The tokens of a file."""

    def __init__(self, tokens: Iterable[StoredToken] = ()) -> None:
        self._tokens = {one.token_id: one for one in tokens}

    def __len__(self) -> int:
        return len(self._tokens)

    def caller_of(self, token: str, now_s: float) -> Caller | None:
        """Returns the caller that a token stands for; None: it is unknown or has expired."""
        found = _TOKEN.fullmatch(token)
        if found is None:
            return None
        stored = self._tokens.get(found[1])
        if stored is None:
            return None
        digest = hashlib.sha256(stored.salt + found[2].encode()).digest()
        if not compare_digest(digest, stored.digest):
            return None
        if stored.expires_s is not None and now_s >= stored.expires_s:
            return None
        return stored.caller


def read_tokens(path: Path) -> Tokens:
    """Reads a file of tokens; empty lines and those that start with # are skipped.

    Raises:
        ConfigError: the file cannot be read, or a line is no token. The message has the number of
            the line, and no part of its text.
    """
    try:
        content = read_file(path)
    except OSError as error:
        raise ConfigError(
            f"{path}: cannot be read: {error.strerror}; `routoo token new` writes it"
        ) from None
    return _parsed(content, path)


def _parsed(content: bytes, path: Path) -> Tokens:
    tokens: dict[str, StoredToken] = {}
    for number, line in enumerate(content.removeprefix(BOM_UTF8).splitlines(), 1):
        if not line.strip() or line.lstrip().startswith(b"#"):
            continue
        try:
            token = _stored(orjson.loads(line))
        except (ValueError, TypeError, KeyError, OverflowError):
            raise ConfigError(
                f"{path}:{number}: not a line of `routoo token new`; remove it"
            ) from None
        if token.token_id in tokens:
            raise ConfigError(f"{path}:{number}: the id stands twice; keep one of the lines")
        tokens[token.token_id] = token
    return Tokens(tokens.values())


def append_token(path: Path, token: StoredToken) -> None:
    """Adds a token to its file; a new file can be read by its owner only.

    Raises:
        ConfigError: the file cannot be written, or a service would refuse it as it is.
    """
    try:
        path.touch(mode=0o600, exist_ok=True)
        with path.open("r+b", buffering=0) as file:
            # Two commands at once would write to the same place.
            fcntl.flock(file, fcntl.LOCK_EX)
            kept = file.read()
            _parsed(kept, path)
            # An editor may have left the last line without its end.
            line = (b"\n" if kept and not kept.endswith(b"\n") else b"") + token.line()
            try:
                while line:
                    line = line[file.write(line) :]
                os.fsync(file.fileno())
            except OSError:
                # Half a line would make a service refuse the file.
                file.truncate(len(kept))
                raise
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written: {error.strerror}") from None


def _stored(values: dict[str, Any]) -> StoredToken:
    roles = frozenset(values["roles"])
    expires, salt, digest = values.get("expires"), values["salt"], values["sha256"]
    token = StoredToken(
        values["id"],
        Caller(f"token {values['id']}", values["tenant"], roles),
        bytes.fromhex(salt),
        bytes.fromhex(digest),
        values.get("created", ""),
        None if expires is None else datetime.fromisoformat(expires).timestamp(),
    )
    if not (
        set(values) <= _KEYS
        and re.fullmatch(r"[0-9a-f]{12}", token.token_id)
        and isinstance(token.caller.tenant, str)
        and roles <= _ROLES
        and roles
        and len(token.digest) == hashlib.sha256().digest_size
        and len(token.salt) >= 16
    ):
        raise ValueError("not a token")
    return token
