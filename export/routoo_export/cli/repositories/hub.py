"""``routoo-export push`` and ``pull``: predictors to and from a Hugging Face hub."""

from pathlib import Path
from typing import Annotated

import typer

from routoo_export.artifact.hub import transfer
from routoo_export.cli.common import AsJson, print_result

Name = Annotated[str, typer.Argument(metavar="OWNER/NAME", help="Name of the repository.")]
ArtifactFolder = Annotated[
    Path, typer.Option("--artifact", help="Version folder, or folder of versions: the newest.")
]
Branch = Annotated[str, typer.Option("--revision", help="Branch to write to.")]
Revision = Annotated[str, typer.Option("--revision", help="Branch, tag or commit.")]
Licence = Annotated[str, typer.Option("--licence", help="Licence of the predictor, SPDX.")]
OwnLicence = Annotated[
    str,
    typer.Option(
        "--own-licence", help="Licence of your own data, where the manifest tells none, SPDX."
    ),
]
Public = Annotated[bool, typer.Option("--public", help="A repository that is made is public.")]
Out = Annotated[Path, typer.Option(help="Version folder to write, e.g. predictor/1.")]

DEFAULT_ARTIFACT = Path("model_repository/predictor")


def push(
    repository: Name,
    artifact: ArtifactFolder = DEFAULT_ARTIFACT,
    *,
    revision: Branch = "main",
    licence: Licence = "Apache-2.0",
    own_licence: OwnLicence = "",
    public: Public = False,
    as_json: AsJson = False,
) -> None:
    """Send a predictor with a model card. The token is in HF_TOKEN, another hub in HF_ENDPOINT."""
    address = transfer.push(
        artifact,
        repository,
        revision=revision,
        licence=licence,
        own_licence=own_licence,
        private=not public,
    )
    print_result({"repository": repository, "commit": address}, as_json=as_json)


def pull(
    repository: Name, out: Out, *, revision: Revision = "main", as_json: AsJson = False
) -> None:
    """Fetch a predictor, check each file's SHA-256, and put it into a folder that serves."""
    version = transfer.pull(repository, out, revision=revision)
    print_result({"artifact": str(out), "version": version}, as_json=as_json)
