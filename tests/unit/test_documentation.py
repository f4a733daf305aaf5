"""The documents hold what they claim: links, commands, figures, and shipped files."""

from __future__ import annotations

import re
from pathlib import Path

import orjson
import pytest

from routoo.config.loading import load_settings
from routoo.predictor.artifact import load_artifact, shipped_artifact

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def metric(path: str) -> dict[str, float]:
    found = load_artifact(shipped_artifact()).manifest.metrics
    for key in path.split("/"):
        found = found[key]
    return found


FIGURES = [
    ("pair/five_folds/apgr", 3),
    ("pair/domains_left_out/apgr", 3),
    ("pair/baselines/domain_prior/apgr", 3),
    ("pool_test_split/mean_auc", 3),
    ("pool_test_split/mean_ece", 3),
    ("pool_test_split/decision/cost_share", 2),
    ("pool_test_split/decision/half_cost_points", 2),
    ("pool_five_folds/half_cost_points", 2),
    ("pool_five_folds/baselines/domain_prior/half_cost_points", 2),
]


@pytest.mark.parametrize(("path", "decimals"), FIGURES)
@pytest.mark.parametrize("document", ["README.md", "docs/predictor.md"])
def test_quoted_figures_are_the_manifest_s(document: str, path: str, decimals: int) -> None:
    figure = metric(path)
    quoted = f"{figure['value']:.{decimals}f} ± {figure['se']:.{decimals}f}"
    assert quoted in (ROOT / document).read_text()


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_to_files(document: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)\)", document.read_text())
    for link in links:
        if "://" not in link:
            assert (document.parent / link).exists(), link


def test_the_example_config_spells_the_defaults_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ROUTOO_DATA", raising=False)
    example = load_settings(ROOT / "examples" / "config.yaml")
    assert orjson.loads(example.model_dump_json()) == orjson.loads(
        load_settings().model_dump_json()
    )
