"""The tutorials are true: each is run word for word, as its reader does."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from support.processes.page_blocks import blocks_of, prints
from support.processes.page_runner import started_alone
from support.processes.tools import missing

ROOT = Path(__file__).parents[3]
PAGES = sorted((ROOT / "docs" / "tutorials").glob("*.md"))
LITELLM = ROOT / ".litellm"
# One block of each page installs what the page needs; the tests run where that has been done.
MOST_NOT_RUN = 1


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """The variables of a reader's terminals: the commands are on the path."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ROUTOO_")}
    paths = [str(ROOT / "tests"), kept.get("PYTHONPATH", "")]
    return kept | {
        "HOME": str(tmp_path),
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), kept["PATH"]]),
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
    }


@pytest.mark.timeout(900)
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_tutorial_runs_word_for_word(
    page: Path, tmp_path: Path, environment: dict[str, str]
) -> None:
    folder = tmp_path / "reader"
    folder.mkdir()
    if page.stem == "behind-litellm":
        if not LITELLM.is_dir():
            missing("no LiteLLM in .litellm; make test installs it there")
        environment["PYTHONPATH"] = os.pathsep.join([str(LITELLM), environment["PYTHONPATH"]])
    ran = subprocess.run(
        started_alone(page, folder),
        env=environment,
        capture_output=True,
        text=True,
        timeout=880,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_tutorial_leaves_little_out(page: Path) -> None:
    blocks = blocks_of(page.read_text(encoding="utf-8"))
    assert len([block for block in blocks if block.not_run]) <= MOST_NOT_RUN
    for block in blocks:
        # Whatever is neither a command nor a file could not be held to anything.
        assert block.language == "console" or block.title, block.body


@pytest.mark.parametrize(
    ("printed", "wanted", "true"),
    [
        ("a\nb\n", ["a", "b"], True),
        ("a\nb\n", ["a"], False),
        ("a\nb\nc\n", ["a", "...", "c"], True),
        ("a\nc\n", ["a", "...", "c"], True),
        ("a\nb\n", ["a", "...", "c"], False),
        ("took 1.5 ms, done\n\n", ["took ... ms, done"], True),
        ("took 1.5 s\n", ["took ... ms"], False),
        ("a.b\n", ["axb"], False),
        ("anything\n", [], True),
    ],
)
def test_what_a_command_prints_is_held_against_its_page(
    printed: str, wanted: list[str], *, true: bool
) -> None:
    assert prints(printed, wanted) is true


def test_a_page_that_is_not_true_is_found(tmp_path: Path, environment: dict[str, str]) -> None:
    for name, text in (("wrong", "$ echo one\ntwo"), ("fails", "$ false"), ("ends", "$ exit 3")):
        page, folder = tmp_path / f"{name}.md", tmp_path / name
        page.write_text(f"# A page\n\n```console\n{text}\n```\n", encoding="utf-8")
        folder.mkdir()
        ran = subprocess.run(
            started_alone(page, folder),
            env=environment,
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        assert ran.returncode == 1, name
        assert "is not true" in ran.stderr
