"""The gate that every call passes: it checks the caller, its role and its limits."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from time import monotonic, time
from typing import TYPE_CHECKING, Any, Protocol, Self

import structlog
from prometheus_client import Counter

from routoo.api.security.caller import ADMIN, ANYONE, PROXY, ROUTE, Caller
from routoo.api.security.client_certificates import ClientCertificates
from routoo.api.security.client_limits import Client, ClientLimits
from routoo.api.security.tokens import Tokens, read_tokens
from routoo.api.security.watched_files import Signature, WatchedFiles
from routoo.errors import ConfigError, PermissionDeniedError, RateLimitedError, UnauthenticatedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from prometheus_client import CollectorRegistry

    from routoo.api.security.shared_counts import SharedCounts
    from routoo.config.sections.security import SecuritySettings

    Metadata = Iterable[tuple[str, str | bytes]]

# Calls that the role admin may make. All other calls need the role route or proxy.
_FOR_ADMINS_TOO = frozenset(
    {
        *("GetBudget", "GetInfo", "ListModels"),
        *("ComparePolicies", "ListDecisions", "WatchDecisions"),
    }
)
# The longest time in which a token or an authority that was taken off its file is still accepted.
_LOOK_EVERY_S = 1.0
_SCHEME = "bearer "
_log = structlog.get_logger("routoo.security")


class CallContext(Protocol):
    """The part of gRPC's servicer context that describes the sender of a call."""

    def invocation_metadata(self) -> Any:
        """Returns pairs of name and value."""

    def auth_context(self) -> Mapping[str, Any]:
        """Returns the facts about the other side that TLS has verified."""

    def peer(self) -> str:
        """Returns the network address, e.g. ``ipv4:127.0.0.1:1234``."""


class Admission:
    """A call that was let in. As a context manager it ends the call.

    Attributes:
        caller: the client that makes the call.
        client: what is counted of the client; None: nothing is.
        counts: whether the call counts against a limit, so that ``leave`` has to follow.
    """

    __slots__ = ("_limits", "caller", "client", "counts")

    def __init__(
        self, caller: Caller, limits: ClientLimits | None = None, client: Client | None = None
    ) -> None:
        self.caller = caller
        self.client = client
        self.counts = limits is not None
        self._limits = limits

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.leave()

    @property
    def excess(self) -> int:
        """So many of the client's calls are above a limit that was lowered since they came."""
        if self._limits is None or self.client is None:
            return 0
        return self._limits.excess(self.client)

    def leave(self) -> None:
        """Ends the call."""
        if self._limits is not None and self.client is not None:
            self._limits.leave(self.client)

    def count(self, prompts: int) -> None:
        """Counts the further prompts of a batch, once it is known how many there are."""
        if self._limits is not None and self.client is not None and prompts > 0:
            self._limits.add(self.client, prompts)

    def take(self) -> None:
        """Counts one more message of a stream.

        Raises:
            RateLimitedError: the client sends too many.
        """
        if self._limits is not None and self.client is not None:
            self._limits.take(self.client)


ANYONE_IN = Admission(ANYONE)
"""The admission of every call to a service without authentication and limits."""


@dataclass(frozen=True, slots=True)
class AccessRenewal:
    """Settings of access that were read and checked, and may be taken.

    Attributes:
        settings: the section.
        tokens: the tokens in the file that the section names.
        seen: the state of that file before it was read.
    """

    settings: SecuritySettings
    tokens: Tokens
    seen: Signature


class Gate:
    """Lets calls in. To be used on one event loop.

    Attributes:
        anyone: the admission that every call gets; None: ``admit`` decides about each call.

    Args:
        settings: the tokens, certificates and limits of clients.
        registry: gets the metrics.
        shared: the counts that the workers of a service share; None: this process counts alone.
        clock_s: seconds on a clock that never goes back.
        wall_clock_s: seconds since 1970, by which tokens and certificates expire. They also expire
            by the time that passes, so that a clock that is set back makes no expired one valid.

    Raises:
        ConfigError: the file of the tokens or that of the authorities cannot be used.
    """

    def __init__(
        self,
        settings: SecuritySettings,
        registry: CollectorRegistry,
        *,
        shared: SharedCounts | None = None,
        clock_s: Callable[[], float] = monotonic,
        wall_clock_s: Callable[[], float] = time,
    ) -> None:
        self._clock_s = clock_s
        self._wall_clock_s = wall_clock_s
        self._began_s = wall_clock_s() - clock_s()
        self._refused = Counter(
            "routoo_refused_calls",
            "Calls that the gate refused: unauthenticated, permission_denied, rate_limited.",
            ("reason",),
            registry=registry,
        )
        self._reloads = Counter(
            "routoo_security_reloads",
            "Changed files of tokens, certificates and clients' authorities: taken, or refused and"
            " the old ones kept.",
            ("file", "result"),
            registry=registry,
        )
        self._limits = ClientLimits(settings.per_client, clock_s, shared)
        tls = settings.tls
        self._holding = None
        if tls is not None and tls.client_ca is not None:
            counted = partial(self.reloaded, "client_ca")
            self._holding = ClientCertificates(tls.client_ca, counted)
        self._looked_s = clock_s()
        self.take(self.prepare(settings))

    @staticmethod
    def prepare(settings: SecuritySettings) -> AccessRenewal:
        """Reads what settings of access name; may be called in any thread.

        Raises:
            ConfigError: the file of the tokens cannot be used.
        """
        if settings.tokens is None:
            return AccessRenewal(settings, Tokens(), ())
        seen = WatchedFiles(settings.tokens).signature()
        return AccessRenewal(settings, read_tokens(settings.tokens), seen)

    def take(self, renewal: AccessRenewal) -> None:
        """Lets calls in by other tokens, certificates and limits from now on.

        What was counted of clients stays counted. The open streams of callers who are no longer let
        in, or whose rights have changed, end when they are checked next.
        """
        settings = renewal.settings
        self._asks = settings.asks_who_calls
        self._limits.renew(settings.per_client)
        self.anyone = None if self._asks or settings.per_client.any else ANYONE_IN
        self._certificates = {
            one.subject: Caller(f"certificate {one.subject}", one.tenant, frozenset(one.roles))
            for one in settings.certificates
        }
        self._path = settings.tokens
        self._tokens = renewal.tokens
        self._file = WatchedFiles(*([] if self._path is None else [self._path]))
        self._seen = renewal.seen

    def admit(self, context: CallContext, rpc: str) -> Admission:
        """Lets a call in; to be used in a ``with`` statement, which ends it.

        Args:
            context: the context of the call.
            rpc: its name, e.g. ``Route``.

        Raises:
            UnauthenticatedError: it shows no credential that is known.
            PermissionDeniedError: the caller has no role that may make this call.
            RateLimitedError: the client asks for too much.
        """
        try:
            caller = self._identify(context, rpc)
            name = caller.name or _host(context.peer())
            return Admission(caller, self._limits, self._limits.enter(name))
        except (UnauthenticatedError, PermissionDeniedError, RateLimitedError) as error:
            self.refused(error)
            raise

    def identify(self, context: CallContext, rpc: str) -> Caller:
        """Returns who makes a call that goes on, as far as is known now.

        Args:
            context: the context of the call.
            rpc: its name.

        Raises:
            UnauthenticatedError: its credential is not known any more, or has expired.
            PermissionDeniedError: the caller has no role any more that may make this call.
        """
        try:
            return self._identify(context, rpc)
        except (UnauthenticatedError, PermissionDeniedError) as error:
            self.refused(error)
            raise

    def check_unread(self, metadata: Metadata) -> None:
        """Refuses a call before its body is read, so that no memory is used for strangers' bodies.

        Raises:
            UnauthenticatedError: its metadata alone show that it will not be let in.
        """
        if not self._asks:
            return
        try:
            if self._of_token(metadata) is None and not self._certificates:
                raise _no_credential()
        except UnauthenticatedError as error:
            self.refused(error)
            raise

    def refused(self, error: Exception) -> None:
        """Counts a refusal, also one that is raised later in a call."""
        self._refused.labels(_REASONS[type(error)]).inc()

    def reloaded(self, file: str, result: str) -> None:
        """Counts a changed file.

        Args:
            file: ``tokens``, ``certificate`` or ``client_ca``.
            result: ``taken`` or ``refused``.
        """
        self._reloads.labels(file, result).inc()

    def _identify(self, context: CallContext, rpc: str) -> Caller:
        caller = self._caller(context)
        _check_role(caller, rpc)
        return caller

    def _caller(self, context: CallContext) -> Caller:
        if not self._asks:
            return ANYONE
        by_token = self._of_token(context.invocation_metadata())
        if by_token is not None:
            return by_token
        if self._certificates:
            shown = context.auth_context()
            for subject in _subjects(shown):
                caller = self._certificates.get(subject)
                if caller is not None:
                    self._check_holds(shown)
                    return caller
        raise _no_credential()

    def _of_token(self, metadata: Metadata) -> Caller | None:
        """Returns the caller of the token that the metadata show; None: they show none.

        Raises:
            UnauthenticatedError: the token is not known, or has expired.
        """
        shown = [value for name, value in metadata if name == "authorization"]
        if not shown:
            return None
        self._look()
        token = shown[0]
        caller = None
        if len(shown) == 1 and isinstance(token, str) and token[:7].lower() == _SCHEME:
            caller = self._tokens.caller_of(token[7:].strip(), self._now_s())
        if caller is None:
            raise UnauthenticatedError(
                "the token is not known here, or has expired; ask the operator for a new one"
            )
        return caller

    def _check_holds(self, shown: Mapping[str, Any]) -> None:
        """Refuses a certificate that its handshake has accepted, if it holds no longer."""
        # The settings refuse a list of certificates without authorities.
        assert self._holding is not None  # noqa: S101 - there is a list
        self._look()
        self._holding.check(shown, self._now_s())

    def _now_s(self) -> float:
        """Seconds since 1970; they never go back."""
        return max(self._wall_clock_s(), self._began_s + self._clock_s())

    def _look(self) -> None:
        """Reads files again that have changed, at most once in ``_LOOK_EVERY_S``."""
        now_s = self._clock_s()
        if now_s - self._looked_s < _LOOK_EVERY_S:
            return
        self._looked_s = now_s
        if self._holding is not None:
            self._holding.look()
        if self._path is not None and self._file.signature() != self._seen:
            self._read_tokens(self._path)

    def _read_tokens(self, path: Path) -> None:
        """Takes the tokens of the file, or keeps the old ones and logs the reason."""
        self._seen = self._file.signature()
        try:
            self._tokens = read_tokens(path)
        except ConfigError as error:
            _log.error("kept the old tokens", reason=str(error))
            self.reloaded("tokens", "refused")
            return
        _log.info("took new tokens", tokens=len(self._tokens))
        if not self._tokens:
            # Taking the last one back is how an operator shuts everybody out, so it is done.
            _log.warning("no token is left", file=str(path), remedy="`routoo token new`")
        self.reloaded("tokens", "taken")


_REASONS = {
    UnauthenticatedError: "unauthenticated",
    PermissionDeniedError: "permission_denied",
    RateLimitedError: "rate_limited",
}


def _check_role(caller: Caller, rpc: str) -> None:
    if caller.roles & {ROUTE, PROXY} or (ADMIN in caller.roles and rpc in _FOR_ADMINS_TOO):
        return
    raise PermissionDeniedError(f"{rpc} needs a token or certificate with the role route")


def _no_credential() -> UnauthenticatedError:
    return UnauthenticatedError(
        "who calls is asked here; send the header `authorization: Bearer TOKEN`, or show a"
        " certificate that is on the list"
    )


def _subjects(auth_context: Mapping[str, Any]) -> Iterable[str]:
    """Returns the names of a verified client certificate.

    The common name only counts if the certificate has no alternative names.
    """
    names = auth_context.get("x509_subject_alternative_name") or auth_context.get(
        "x509_common_name", ()
    )
    return [name.decode("utf-8", "replace") for name in names]


def _host(peer: str) -> str:
    """Returns the address without its port, so that all sockets of a machine are one client.

    Args:
        peer: the network address, e.g. ``ipv4:10.0.0.7:5123``.
    """
    return "unix" if peer.startswith("unix:") else peer.rpartition(":")[0]
