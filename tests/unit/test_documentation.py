"""The documents hold what they claim: links, commands, figures, and shipped files."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml
from pydantic import BaseModel

from routoo.config.loading import load_settings
from routoo.config.settings import Settings
from routoo.predictor.artifact import load_artifact, shipped_artifact

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "export").rglob("README.md")),
]


# Rows of the tables in README.md and docs/explanation/predictor.md: the beginning of the row, where
# its figures stand in the manifest's metrics, column by column, and their decimals.
FIGURES = [
    ("the right one of 25 kinds", ["user_prompts/kind", "written_prompts/kind"], 2),
    ("among the three likeliest", ["user_prompts/among_three", "written_prompts/among_three"], 2),
    ("the right one of 9 groups", ["user_prompts/group", "written_prompts/group"], 2),
    (
        "calibration error of its probability (0.07 if all are true)",
        ["user_prompts/calibration_error"],
        2,
    ),
    (
        "the right kind, languages other than English",
        ["user_prompts/other_languages_kind"],
        2,
    ),
    (
        "the right group, languages other than English",
        ["user_prompts/other_languages_group"],
        2,
    ),
    ("expected length within a factor of three", ["user_prompts/length_within_factor"], 2),
    ("sum of the expected lengths, over the true one", ["user_prompts/length_of_sum"], 2),
    ("models and effort levels", ["catalogue/models"], 0),
    ("rank correlation of predicted and true scores", ["catalogue/spearman"], 2),
    ("true scores inside the 90 % interval", ["catalogue/inside_90"], 2),
]


def cells_of(document: str, label: str) -> list[str]:
    """Returns the figures of the one row of a document's tables that begins with the label."""
    lines = (ROOT / document).read_text(encoding="utf-8").splitlines()
    (row,) = [line for line in lines if line.startswith(f"| {label} |")]
    return [cell.strip() for cell in row.strip("|").split("|")[1:] if cell.strip()]


def metric(path: str) -> float:
    metrics = load_artifact(shipped_artifact()).manifest.metrics
    group, name = path.split("/")
    return float(metrics[group][name])


def quoted(document: str) -> list[tuple[str, str, list[str], int]]:
    """Returns the rows of figures that a document has."""
    text = (ROOT / document).read_text(encoding="utf-8")
    return [(document, *row) for row in FIGURES if f"| {row[0]} |" in text]


def test_the_documents_quote_the_manifest() -> None:
    assert len(quoted("docs/explanation/predictor.md")) == len(FIGURES)
    assert len(quoted("README.md")) >= 3


@pytest.mark.parametrize(
    ("document", "label", "paths", "decimals"),
    [*quoted("README.md"), *quoted("docs/explanation/predictor.md")],
)
def test_quoted_figures_are_the_manifest_s(
    document: str, label: str, paths: list[str], decimals: int
) -> None:
    figures = [f"{metric(path):.{decimals}f}" for path in paths]
    assert cells_of(document, label) == figures


@pytest.mark.parametrize(
    ("label", "path", "decimals"),
    [
        (
            (
                "out of the box, points of 100 above each public source's best single model,"
                " known afterwards"
            ),
            "mix/recognised/points",
            1,
        ),
        (
            "trained on graded answers, share of the best single model's cost for its quality",
            "paper/methods/this predictor/cost_share",
            2,
        ),
    ],
)
def test_the_first_screen_quotes_the_mix_of_traffic(label: str, path: str, decimals: int) -> None:
    figure = orjson.loads((ROOT / "docs" / "results" / "traffic.json").read_bytes())
    for name in path.split("/"):
        figure = figure[name]
    told = f"{figure['value']:.{decimals}f} ± {figure['se']:.{decimals}f}"
    assert cells_of("README.md", label) == [told]


def test_the_page_of_benchmarks_is_that_of_their_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    record = importlib.import_module("harness.command.record")
    folder = record.DEFAULT_FOLDER
    assert folder.with_suffix(".md").read_text(encoding="utf-8") == record.page(folder)


def test_the_first_file_fits_two_screens() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 100


def without_code(document: Path) -> str:
    return re.sub(r"^```.*?^```$", "", document.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)


def links_of(document: Path) -> list[str]:
    """Returns the links of a document that lead into the repository."""
    found = re.findall(r"\]\(([^)\s]+)\)", without_code(document))
    return [link for link in found if "://" not in link]


def anchors_of(document: Path) -> set[str]:
    """Returns the anchors of a document's headings, as GitHub and the site of docs/ name them."""
    heads = re.findall(r"^#+ (.+)$", without_code(document), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).strip().replace(" ", "-") for head in heads}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_to_files(document: Path) -> None:
    for link in links_of(document):
        target, _, anchor = link.partition("#")
        there = document.parent / target if target else document
        assert there.exists(), link
        if anchor and there.suffix == ".md":
            assert anchor in anchors_of(there), link


def test_the_change_log_tells_nothing_twice_and_names_pages_that_there_are() -> None:
    document = ROOT / "CHANGELOG.md"
    text = document.read_text(encoding="utf-8")
    for version in re.split(r"(?m)^## ", text):
        # Merges have left whole entries, and heads and ends of entries, a second time.
        lines = [line for line in version.splitlines() if len(line) > 30]
        assert {line for line in lines if lines.count(line) > 1} == set()
    missing = [link for link in links_of(document) if not (ROOT / link.partition("#")[0]).exists()]
    assert missing == []


def test_every_page_is_reached_from_the_first_one() -> None:
    reached: set[Path] = set()
    waiting = [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        if page in reached or page.suffix != ".md" or not page.is_file():
            continue
        reached.add(page)
        links = [link.partition("#")[0] for link in links_of(page)]
        waiting += [(page.parent / link).resolve() for link in links if link]
    assert [page for page in (ROOT / "docs").rglob("*.md") if page not in reached] == []


@pytest.mark.parametrize("folder", ["server", "export", "deploy", "examples", "proto", "tests"])
def test_the_code_names_pages_that_there_are(folder: str) -> None:
    texts = [
        path
        for ending in ("*.py", "*.yaml", "*.proto", "*.html", "*.md")
        for path in (ROOT / folder).rglob(ending)
        if "prompts" not in path.parts
    ]
    named = {
        (str(path.relative_to(ROOT)), page)
        for path in texts
        for page in re.findall(r"\bdocs/[\w/-]+\.md", path.read_text(encoding="utf-8"))
    }
    assert [(path, page) for path, page in sorted(named) if not (ROOT / page).is_file()] == []


@pytest.mark.parametrize(
    ("file", "kind"),
    [("examples/config.yaml", "settings"), ("server/routoo/routing/default_pool.yaml", "pool")],
)
def test_the_shipped_files_name_their_schema(file: str, kind: str) -> None:
    first = (ROOT / file).read_text(encoding="utf-8").splitlines()[0]
    assert first == f"# yaml-language-server: $schema={kind}.schema.json"


def test_the_example_config_spells_the_defaults_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ROUTOO_DATA", raising=False)
    example = load_settings(ROOT / "examples" / "config.yaml")
    assert orjson.loads(example.model_dump_json()) == orjson.loads(
        load_settings().model_dump_json()
    )


def unlisted(section: BaseModel, listed: dict[str, Any], text: str, path: str = "") -> list[str]:
    """Returns the settings that the example has neither as a key nor, if unset, in a comment."""
    found: list[str] = []
    for name in type(section).model_fields:
        value = getattr(section, name)
        if isinstance(value, BaseModel) and name in listed:
            found += unlisted(value, listed[name], text, f"{path}{name}.")
        elif name not in listed and (value or f"# {name}:" not in text):
            found.append(path + name)
    return found


def test_the_example_config_lists_every_setting() -> None:
    text = (ROOT / "examples" / "config.yaml").read_text()
    assert unlisted(Settings(), yaml.safe_load(text), text) == []
