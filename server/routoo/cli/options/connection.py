"""Options that say how to reach a service, which may stand before a command or after it."""
# ruff: noqa: PLC0415
# A command imports what it needs when it runs: ``routoo serve`` then starts fast and stays small.

import inspect
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass, replace
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from routoo.cli.output.errors import CommandError

if TYPE_CHECKING:
    from routoo.client.channel import Tls

DEFAULT_ADDRESS = "127.0.0.1:50051"

RootAddress = Annotated[
    str | None,
    typer.Option(
        "--address", envvar="ROUTOO_ADDRESS", help="HOST:PORT of the service.", metavar="A"
    ),
]
_DEFAULT_HELP = f"HOST:PORT of the service.  [default: {DEFAULT_ADDRESS}]"
_Address = Annotated[str | None, typer.Option(help=_DEFAULT_HELP, metavar="A")]
_NAMED = "named_address"
_AddressOption = Annotated[str | None, typer.Option("--address", help=_DEFAULT_HELP, metavar="A")]
_FILE_OF_CALLER = "File that holds the token to call with."
_CA = "PEM: speak TLS, and trust who these signed."
_CERT = "PEM: own certificate; with --key."
_KEY = "PEM: its private key."
_FILES: dict[str, Any] = {
    "token": ("token_file", typer.Option("--token-file", help=_FILE_OF_CALLER)),
    "ca": ("ca", typer.Option("--ca", help=_CA)),
    "certificate": ("cert", typer.Option("--cert", help=_CERT)),
    "key": ("key", typer.Option("--key", help=_KEY)),
}
TokenFile = Annotated[
    Path | None,
    typer.Option(envvar="ROUTOO_TOKEN_FILE", help=_FILE_OF_CALLER),
]
CaFile = Annotated[
    Path | None,
    typer.Option("--ca", envvar="ROUTOO_CA", help=_CA),
]
CertificateFile = Annotated[
    Path | None,
    typer.Option("--cert", envvar="ROUTOO_CERT", help=_CERT),
]
KeyFile = Annotated[Path | None, typer.Option("--key", envvar="ROUTOO_KEY", help=_KEY)]


@dataclass(frozen=True, slots=True)
class CredentialFiles:
    """Files named on the command line; read when a service is called.

    Attributes:
        token: the file with the token; None: none is sent.
        ca: the authorities that may sign the service's certificate; None: no TLS.
        certificate: the caller's certificate chain; needs ``ca`` and ``key``.
        key: the private key of ``certificate``.
    """

    token: Path | None = None
    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None

    def read_token(self) -> str | None:
        """Reads the token; None where no file is named.

        Raises:
            CommandError: the file cannot be read, or holds no token.
        """
        if self.token is None:
            return None
        token = _read(self.token).decode("utf-8", "replace").strip()
        if not token.isprintable() or not token.isascii() or not token or " " in token:
            raise CommandError(
                f"{self.token}: holds no token; put one there that `routoo token new` printed"
            )
        return token

    def read_tls(self) -> "Tls | None":
        """Reads the files for TLS; None where no authority is named.

        Raises:
            CommandError: a file cannot be read, or one is missing.
        """
        from routoo.client.channel import Tls

        if self.ca is None and (self.certificate or self.key):
            raise CommandError("--cert and --key need --ca, which says whom to trust")
        if (self.certificate is None) != (self.key is None):
            raise CommandError("--cert needs --key, and --key needs --cert")
        if self.ca is None:
            return None
        if self.certificate is None or self.key is None:
            return Tls(_read_pem(self.ca))
        return Tls(_read_pem(self.ca), _read_pem(self.certificate), _read_pem(self.key))


_files: ContextVar[CredentialFiles] = ContextVar("credential files", default=CredentialFiles())  # noqa: B039 - frozen


def use_credential_files(files: CredentialFiles) -> None:
    """Sets the files that the command line names."""
    _files.set(files)


def credential_files() -> CredentialFiles:
    """Returns the files that the running command line names."""
    return _files.get()


_address: ContextVar[str | None] = ContextVar("address", default=None)


def use_address(address: str | None) -> None:
    """Sets the address that stands before the command, or in the environment."""
    _address.set(address)


def address_in_use() -> str:
    """Returns the address that stands before the command, or else the usual one."""
    return _address.get() or DEFAULT_ADDRESS


def with_connection(command: Callable[..., None]) -> Callable[..., None]:
    """Gives a command the options that say how to reach a service.

    Those that stand after the command go before those that stand before it, and these before the
    environment's. The command takes the address, never None, as its parameter ``address``, which
    may be an argument of its own making, beside the option; the rest it finds in
    ``credential_files``.
    """
    signature = inspect.signature(command)
    own = dict(signature.parameters)
    if own["address"].kind is inspect.Parameter.KEYWORD_ONLY:
        own["address"] = own["address"].replace(default=None, annotation=_Address)
    else:
        own[_NAMED] = inspect.Parameter(
            _NAMED, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=_AddressOption
        )
    for name, option in _FILES.values():
        own[name] = inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            default=None,
            annotation=Annotated[Path | None, option],
        )

    @wraps(command)
    def run(**values: Any) -> None:
        files = {
            field: file
            for field, (name, _) in _FILES.items()
            if (file := values.pop(name)) is not None
        }
        use_credential_files(replace(credential_files(), **files))
        values["address"] = values.pop(_NAMED, None) or values["address"] or address_in_use()
        command(**values)

    run.__signature__ = signature.replace(parameters=list(own.values()))  # type: ignore[attr-defined] # what typer reads
    run.__annotations__ = {
        **command.__annotations__,
        **{name: one.annotation for name, one in own.items()},
    }
    return run


def _read_pem(file: Path) -> bytes:
    found = _read(file)
    if b"-----BEGIN " not in found:
        raise CommandError(f"{file}: is no PEM file; it begins with -----BEGIN CERTIFICATE-----")
    return found


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise CommandError(f"{file}: cannot be read: {error.strerror}; name another") from None
