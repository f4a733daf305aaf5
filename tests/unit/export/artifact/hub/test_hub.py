"""Predictors on a hub: sent with a card, fetched and checked, and served from where they come."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import pytest
from huggingface_hub import constants, file_download
from typer.testing import CliRunner

from routoo.predictor.artifact import load_artifact, shipped_artifact
from routoo_export.artifact.hub import transfer
from routoo_export.artifact.hub.licences import LicensedSource, check, is_allowed, sources_of
from routoo_export.cli.app import app
from routoo_export.errors import ExportError
from support.artifacts.hub_server import TOKEN, Hub, hub_server
from support.artifacts.tiny_artifact import write_tiny_artifact
from support.tiny_service import serving, tiny_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

NAME = "someone/router"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with hub_server() as running:
        monkeypatch.setenv("HF_ENDPOINT", running.endpoint)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        # Some of the library reads the variable once, when it is imported.
        monkeypatch.setattr(constants, "ENDPOINT", running.endpoint)
        template = running.endpoint + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(file_download, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        yield running


def with_training(folder: Path, training: dict[str, Any]) -> Path:
    write_tiny_artifact(folder)
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**manifest, "training": training}), encoding="utf-8")
    return folder


def test_what_ships_goes_to_the_hub_and_comes_back_the_same(hub: Hub, tmp_path: Path) -> None:
    address = transfer.push(shipped_artifact(), NAME)
    assert address.startswith(hub.endpoint)
    assert NAME in hub.private
    assert hub.large  # the graph is no file for a commit
    version = transfer.pull(NAME, tmp_path / "predictor" / "1")
    assert version == load_artifact(shipped_artifact()).version
    for path in shipped_artifact().iterdir():
        assert (tmp_path / "predictor" / "1" / path.name).read_bytes() == path.read_bytes()


def test_the_card_names_data_licences_figures_limits_and_files(hub: Hub) -> None:
    transfer.push(shipped_artifact(), NAME)
    card = hub.files[NAME]["README.md"].decode()
    artifact = load_artifact(shipped_artifact())
    assert card.startswith("---\nlicense: apache-2.0\n")
    assert "| mmlu_pro | Apache-2.0 |" in card
    assert "| other_prompts | CC-BY-4.0 |" in card
    assert "| parity" not in card
    assert "user prompts kind" in card
    assert "## Limits" in card
    assert artifact.manifest.files["model.onnx"].sha256 in card
    assert artifact.models[0] in card


async def test_a_pulled_folder_serves(hub: Hub, tmp_path: Path) -> None:
    sent = with_training(tmp_path / "sent", {"sources": [{"name": "mine", "licence": "MIT"}]})
    transfer.push(sent, NAME)
    pulled = tmp_path / "pulled"
    transfer.pull(NAME, pulled)
    async with serving(tiny_settings(tmp_path, predictor={"artifact": str(pulled)})) as running:
        assert (await running.route()).predictor_version == load_artifact(sent).version


def test_a_new_version_replaces_the_files_of_the_old_one(hub: Hub, tmp_path: Path) -> None:
    transfer.push(shipped_artifact(), NAME)
    sent = with_training(tmp_path / "sent", {"sources": [{"name": "mine", "licence": "MIT"}]})
    transfer.push(sent, NAME)
    assert "models.npz" not in hub.files[NAME]
    transfer.pull(NAME, tmp_path / "out")
    assert load_artifact(tmp_path / "out").version == load_artifact(sent).version


def spoil_model(hub: Hub) -> None:
    hub.files[NAME]["model.onnx"] += b"x"


def spoil_both(hub: Hub) -> None:
    spoil_model(hub)
    manifest = hub.files[NAME]["manifest.json"]
    hub.files[NAME]["manifest.json"] = manifest.replace(b'"bytes": ', b'"bytes": 1')


def lose_a_file(hub: Hub) -> None:
    del hub.files[NAME]["tokenizer.json"]


def lose_the_sums(hub: Hub) -> None:
    del hub.files[NAME]["SHA256SUMS"]


def climb_out(hub: Hub) -> None:
    hub.files[NAME]["SHA256SUMS"] += b"0" * 64 + b"  ..\n"


def lose_all(hub: Hub) -> None:
    hub.files.clear()


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (spoil_model, "model.onnx is not the file that was sent"),
        (spoil_both, "manifest.json is not the file that was sent"),
        (lose_a_file, "tokenizer.json is not the file that was sent"),
        (lose_the_sums, "it has no SHA256SUMS"),
        (climb_out, "SHA256SUMS is not as"),
        (lose_all, "is not there, or private"),
    ],
)
def test_what_is_spoilt_does_not_take_a_place(
    hub: Hub, tmp_path: Path, spoil: Callable[[Hub], None], words: str
) -> None:
    sent = with_training(tmp_path / "sent", {"sources": [{"name": "mine", "licence": "MIT"}]})
    transfer.push(sent, NAME)
    spoil(hub)
    out = tmp_path / "out"
    shutil.copytree(sent, out)
    with pytest.raises(ExportError, match=words) as caught:
        transfer.pull(NAME, out)
    assert "\n" not in str(caught.value)
    load_artifact(out)


def test_without_its_token_nothing_goes_and_nothing_private_comes(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    transfer.push(shipped_artifact(), NAME)
    monkeypatch.delenv("HF_TOKEN")
    hub.tokens.clear()
    with pytest.raises(ExportError, match="set HF_TOKEN"):
        transfer.push(shipped_artifact(), NAME)
    with pytest.raises(ExportError, match="set HF_TOKEN"):
        transfer.pull(NAME, tmp_path / "out")
    assert hub.tokens == {""}
    assert not (tmp_path / "out").exists()


def test_a_hub_that_is_away(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with hub_server() as gone:
        monkeypatch.setenv("HF_ENDPOINT", gone.endpoint)
    with pytest.raises(ExportError, match="cannot be reached"):
        transfer.pull(NAME, tmp_path / "out")


@pytest.mark.parametrize(
    ("training", "words"),
    [
        ({}, "no source"),
        ({"sources": [{"name": "old", "licence": "CC-BY-NC-4.0"}]}, "'old' is CC-BY-NC-4.0"),
        ({"sources": [{"name": "old", "licence": "research use"}]}, "'old' is research use"),
        ({"sources": [{"name": "old", "licence": "unknown"}]}, "--own-licence"),
        ({"sources": [{"name": "old"}]}, "--own-licence"),
        ({"other_prompts": [{"name": "a"}], "other_prompts_licences": ["MIT", "GPL-3.0"]}, "GPL"),
    ],
)
def test_a_source_that_forbids_it_keeps_a_predictor_here(
    hub: Hub, tmp_path: Path, training: dict[str, Any], words: str
) -> None:
    folder = with_training(tmp_path / "sent", training)
    with pytest.raises(ExportError, match=words):
        transfer.push(folder, NAME)
    assert hub.files == {}


def test_own_data_is_handed_on_under_the_licence_that_its_owner_names() -> None:
    unknown, known = LicensedSource("mine", "unknown"), LicensedSource("theirs", "MIT")
    assert check((unknown, known), "CC-BY-4.0") == (LicensedSource("mine", "CC-BY-4.0"), known)
    with pytest.raises(ExportError, match="theirs"):
        check((LicensedSource("theirs", "proprietary"),), "MIT")


@pytest.mark.parametrize(
    ("licence", "allowed"),
    [
        ("Apache-2.0", True),
        ("CC BY 4.0", True),
        ("MIT AND Apache-2.0", True),
        ("MIT AND GPL-3.0", False),
        ("GPL-3.0 OR MIT", True),
        ("(MIT OR GPL-3.0) AND Apache-2.0", False),
        ("MIT OR GPL-3.0 AND X", True),
        ("", False),
        ("MIT or so", False),
    ],
)
def test_which_licences_allow_it(licence: str, *, allowed: bool) -> None:
    assert is_allowed(licence) is allowed


def test_sources_are_found_wherever_the_manifest_lists_them() -> None:
    manifest = load_artifact(shipped_artifact()).manifest
    names = {one.name for one in sources_of(manifest.training)}
    assert {"mmlu_pro", "LiveBench", "applications", "other_prompts"} <= names


def test_the_commands(hub: Hub, tmp_path: Path) -> None:
    runner = CliRunner()
    sent = runner.invoke(
        app, ["push", NAME, "--artifact", str(shipped_artifact()), "--public", "--json"]
    )
    assert sent.exit_code == 0, sent.output
    assert hub.private == set()
    commit = json.loads(sent.stdout)["commit"].rpartition("/")[2]
    out = tmp_path / "predictor"
    got = runner.invoke(app, ["pull", NAME, "--out", str(out), "--revision", commit, "--json"])
    assert got.exit_code == 0, got.output
    assert json.loads(got.stdout)["version"] == load_artifact(out).version
