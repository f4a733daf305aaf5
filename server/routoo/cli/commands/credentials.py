"""Global options for credentials: the caller's token and certificate, and trusted authorities."""
# ruff: noqa: PLC0415
# A command imports what it needs when it runs: ``routoo serve`` then starts fast and stays small.

from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from routoo.cli.output.errors import CommandError

if TYPE_CHECKING:
    from routoo.client.channel import Tls

TokenFile = Annotated[
    Path | None,
    typer.Option(envvar="ROUTOO_TOKEN_FILE", help="File that holds the token to call with."),
]
CaFile = Annotated[
    Path | None,
    typer.Option("--ca", envvar="ROUTOO_CA", help="PEM: speak TLS, and trust who these signed."),
]
CertificateFile = Annotated[
    Path | None,
    typer.Option("--cert", envvar="ROUTOO_CERT", help="PEM: own certificate; with --key."),
]
KeyFile = Annotated[
    Path | None, typer.Option("--key", envvar="ROUTOO_KEY", help="PEM: its private key.")
]


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
            CommandError: the file cannot be read.
        """
        return None if self.token is None else _read(self.token).decode("utf-8", "replace").strip()

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
            return Tls(_read(self.ca))
        return Tls(_read(self.ca), _read(self.certificate), _read(self.key))


_files: ContextVar[CredentialFiles] = ContextVar("credential files", default=CredentialFiles())  # noqa: B039 - frozen


def use_credential_files(files: CredentialFiles) -> None:
    """Sets the files that the command line names."""
    _files.set(files)


def credential_files() -> CredentialFiles:
    """Returns the files that the running command line names."""
    return _files.get()


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise CommandError(f"{file}: cannot be read: {error.strerror}") from None
