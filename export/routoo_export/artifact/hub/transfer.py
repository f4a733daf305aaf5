"""Predictors to and from a Hugging Face hub, whole or not at all.

Beside the files of a version folder, a repository has a model card and ``SHA256SUMS``. What is
pulled is compared with both these sums and the manifest before it takes its place.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import sys
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Final

from routoo.errors import ArtifactError
from routoo.predictor.artifact import MANIFEST, find_artifact, load_artifact
from routoo_export.artifact.hub.card import card_of
from routoo_export.artifact.hub.licences import check, sources_of
from routoo_export.artifact.replace_folder import replace_folder, scratch_folder
from routoo_export.errors import ExportError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from huggingface_hub import HfApi

SUMS: Final = "SHA256SUMS"
CARD: Final = "README.md"
_CARRIERS: Final = frozenset({"requests", "urllib3", "httpx"})
_SUM: Final = re.compile(r"([0-9a-f]{64})  ([\w.-]+)")
# Everything that a version folder may hold: what else a repository has is not taken.
_FILES: Final = frozenset(
    {
        *(MANIFEST, "model.onnx", "tokenizer.json"),
        *("models.npz", "catalogue.npz", "calibration.npz"),
    }
)


def push(
    folder: Path,
    repository: str,
    *,
    revision: str = "main",
    licence: str = "Apache-2.0",
    own_licence: str = "",
    private: bool = True,
) -> str:
    """Sends a predictor with a model card, and returns the address of the commit.

    Args:
        folder: a version folder, or a folder of versions, of which the newest is sent.
        repository: its name on the hub, OWNER/NAME; it is made where it is missing.
        revision: the branch.
        licence: of the predictor, for the card.
        own_licence: of sources whose licence the manifest does not tell; see ``licences.check``.
        private: whether a repository that is made can be seen by its owner alone.

    Raises:
        ArtifactError: the folder is no predictor, or one of its files is not that of the manifest.
        ExportError: a source does not allow to hand it on, or the hub refuses or is away.
    """
    artifact = load_artifact(find_artifact(folder))
    sources = check(sources_of(artifact.manifest.training), own_licence)
    api = _api()
    with TemporaryDirectory(prefix="routoo-push-") as scratch:
        build = Path(scratch)
        for name in sorted(_FILES):
            if (artifact.folder / name).is_file():
                shutil.copy(artifact.folder / name, build)
        sums = {path.name: _sha256(path) for path in sorted(build.iterdir())}
        (build / SUMS).write_text(
            "".join(f"{found}  {name}\n" for name, found in sums.items()), encoding="utf-8"
        )
        card = card_of(artifact, sources, licence, repository)
        (build / CARD).write_text(card, encoding="utf-8")
        with _told(repository):
            api.create_repo(repository, private=private, exist_ok=True)
            commit = api.upload_folder(
                repo_id=repository,
                folder_path=build,
                revision=revision,
                commit_message=f"Predictor {artifact.version}",
                # Files of an earlier version must not stay beside those of this one.
                delete_patterns=sorted(_FILES),
            )
    return str(commit.commit_url)


def pull(repository: str, out: Path, *, revision: str = "main") -> str:
    """Fetches a predictor into a version folder, and returns its version.

    Args:
        repository: its name on the hub.
        out: the folder, which is replaced once everything has come and been checked.
        revision: a branch, a tag or a commit.

    Raises:
        ExportError: the hub refuses or is away, the repository is no predictor of ``push``, or a
            file is not the one that was sent.
    """
    api = _api()
    with scratch_folder(out) as build:
        with _told(repository):
            commit = api.repo_info(repository, revision=revision).sha
            fetched = api.snapshot_download(
                repository, revision=commit, local_dir=build, allow_patterns=[*_FILES, SUMS, CARD]
            )
        shutil.rmtree(build / ".cache", ignore_errors=True)
        _check(build, _sums_in(build, repository), repository)
        try:
            version = load_artifact(build).version
        except ArtifactError as error:
            told = str(error).replace(f"{fetched}{os.sep}", "")
            raise ExportError(f"{repository}: {told}") from None
        replace_folder(build, out)
    return version


def _sums_in(folder: Path, repository: str) -> Mapping[str, str]:
    try:
        lines = (folder / SUMS).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        raise ExportError(
            f"{repository} is no predictor that `routoo-export push` has sent: it has no {SUMS}"
        ) from None
    found = [_SUM.fullmatch(line) for line in lines]
    sums = {one[2]: one[1] for one in found if one is not None}
    if len(sums) != len(lines) or not sums.keys() <= _FILES or MANIFEST not in sums:
        raise ExportError(f"{repository}: {SUMS} is not as `routoo-export push` writes it")
    return sums


def _check(folder: Path, sums: Mapping[str, str], repository: str) -> None:
    """Compares the files with their sums.

    Raises:
        ExportError: one is another, missing, or without a sum.
    """
    for name in sorted({path.name for path in folder.iterdir()} - sums.keys() - {SUMS, CARD}):
        raise ExportError(f"{repository}: {name} has no sum in {SUMS}; it is not taken")
    for name, expected in sums.items():
        path = folder / name
        found = _sha256(path) if path.is_file() else "missing"
        if found != expected:
            raise ExportError(
                f"{repository}: {name} is not the file that was sent (sha256 {found[:12]}, expected"
                f" {expected[:12]}); pull again, or name an earlier commit with --revision"
            )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _api() -> HfApi:
    """Opens the hub of ``HF_ENDPOINT`` with the token of ``HF_TOKEN``; unset: none is sent."""
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    if not sys.stderr.isatty():
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    # The library reads the environment when it is imported, and only this command needs it.
    from huggingface_hub import HfApi  # noqa: PLC0415

    return HfApi(endpoint=os.environ.get("HF_ENDPOINT"), token=os.environ.get("HF_TOKEN") or False)


@contextmanager
def _told(repository: str) -> Iterator[None]:
    """Turns failures of the hub into one line.

    Raises:
        ExportError: instead of an error of the library.
    """
    from huggingface_hub import errors  # noqa: PLC0415 - see ``_api``

    try:
        yield
    except errors.HFValidationError as error:
        raise ExportError(f"{repository!r} is no name of a repository: {error}") from None
    except errors.RevisionNotFoundError:
        raise ExportError(f"{repository} has no such revision; name another one") from None
    except errors.RepositoryNotFoundError:
        raise ExportError(
            f"{repository} is not there, or private; check the name, and set HF_TOKEN to a token"
            " that may see it"
        ) from None
    except errors.HfHubHTTPError as error:
        status = error.response.status_code if error.response is not None else "no"
        told = (error.server_message or str(error)).strip().partition("\n")[0]
        remedy = "; set HF_TOKEN to a token that may write" if status in {401, 403} else ""
        raise ExportError(f"the hub answers {repository} with {status}: {told}{remedy}") from None
    except Exception as error:
        # Which library carries the calls depends on the version; an error of a disk goes on.
        away = isinstance(error, errors.LocalEntryNotFoundError)
        if not away and type(error).__module__.partition(".")[0] not in _CARRIERS:
            raise
        raise ExportError(
            f"the hub cannot be reached ({type(error).__name__}); check the network and HF_ENDPOINT"
        ) from None
