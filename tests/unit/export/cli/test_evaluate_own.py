"""``routoo-export evaluate --own`` on small synthetic sources of the registry's names."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from routoo_export.cli.app import main
from support.tables.random_table import write_tiny_table_artifact

if TYPE_CHECKING:
    from pathlib import Path

ROWS = 240
WORDS = {"sums": ["add", "divide", "total", "digits"], "poems": ["rose", "verse", "moon", "river"]}
THIS, RECOGNISED = "this predictor", "recognised task, empirical-Bayes means"
KNOWN, HINDSIGHT = "over_known_single", "over_hindsight_single"


def write_source(folder: Path, name: str, cost: str, means: dict[str, tuple[float, float]]) -> None:
    """Writes a source whose models have these mean scores at sums and at poems."""
    random = np.random.default_rng(0)
    domains = [("sums", "poems")[at % 2] for at in range(ROWS)]
    table: dict[str, Any] = {
        "prompt_id": [str(at) for at in range(ROWS)],
        "prompt": [f"{' '.join(random.choice(WORDS[d], 3))} {at}" for at, d in enumerate(domains)],
        "domain": domains,
    }
    for at, (model, chances) in enumerate(means.items()):
        chance = np.where(np.array(domains) == "sums", *chances)
        table[f"score:{model}"] = (random.random(ROWS) < chance).astype(float)
        table[f"{cost}:{model}"] = np.full(ROWS, 1e-5 * 10**at)
    pq.write_table(pa.table(table), folder / f"{name}.parquet")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two sources: of one, each model is good at something; of the other, all are alike."""
    folder = tmp_path_factory.mktemp("data")
    models = ("cheap", "dear")
    write_source(folder, "mmlu_pro", "cost_est", {models[0]: (0.9, 0.2), models[1]: (0.4, 0.9)})
    write_source(
        folder, "zeroeval_gsm8k", "cost_est", dict.fromkeys(map(str, range(8)), (0.5, 0.5))
    )
    names = [("mmlu_pro", model) for model in models]
    names += [("zeroeval_gsm8k", str(at)) for at in range(8)]
    lines = [f"{name}.parquet,{model},lab/{model}" for name, model in names]
    text = "source_file,source_name,canonical\n" + "\n".join(lines) + "\n"
    (folder / "models.csv").write_text(text)
    return folder


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    prompts = [" ".join(words) for words in WORDS.values()] * 20
    return write_tiny_table_artifact(tmp_path_factory.mktemp("base") / "predictor" / "1", prompts)


def run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: object
) -> tuple[int, str, str]:
    monkeypatch.delenv("ROUTOO_DATA", raising=False)
    words = ["routoo-export", "evaluate", "--own", *map(str, arguments)]
    monkeypatch.setattr("sys.argv", words)
    with pytest.raises(SystemExit) as caught:
        main()
    out, err = capsys.readouterr()
    return int(caught.value.code or 0), out, err


def test_few_labels_and_five_folds_are_judged_of_chosen_sources(
    data: Path, base: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ("--data", data, "--artifact", base, "--source", "mmlu_pro", "--labels", 120)
    code, out, err = run(monkeypatch, capsys, *options, "--draws", 2, "--json")
    assert (code, err) == (0, "")
    found = json.loads(out)
    assert list(found["labels"]) == ["mmlu_pro"]
    assert set(found["labels"]["mmlu_pro"]) == {"120"}
    assert found["labels"]["mmlu_pro"]["120"][RECOGNISED]["gain"]["value"] == 0.0
    row = found["five_folds"]["mmlu_pro"]
    assert (row["prompts"], row["models"], row["regrets"]) == (ROWS, 2, False)
    told = row[KNOWN]["this predictor, told the domain"]
    assert told["points"]["value"] > 10.0
    assert told["half_cost_points"]["value"] <= told["full_cost_points"]["value"]


def test_among_equal_models_the_bar_known_before_is_the_lower_one(
    data: Path, base: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ("--data", data, "--artifact", base, "--source", "zeroeval_gsm8k", "--draws", 0)
    code, out, err = run(monkeypatch, capsys, *options, "--json")
    assert (code, err) == (0, "")
    found = json.loads(out)
    assert "labels" not in found
    row = found["five_folds"]["zeroeval_gsm8k"]
    for name in ("points", "full_cost_points"):
        assert row[KNOWN][THIS][name]["value"] >= row[HINDSIGHT][THIS][name]["value"]
    assert not row["regrets"]


def test_the_folds_can_be_left_out(
    data: Path, base: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ("--data", data, "--artifact", base, "--source", "mmlu_pro", "--folds", 0)
    code, out, _ = run(monkeypatch, capsys, *options, "--labels", 60, "--draws", 1)
    assert code == 0
    assert "labels.mmlu_pro.60" in out.replace("\n", "")
    assert "five_folds" not in out


@pytest.mark.parametrize(
    ("name", "said"),
    [("nosuch", "nosuch"), ("llmrouterbench_mini_notext", "has no prompts"), ("kor_bench", "kor")],
)
def test_a_source_that_cannot_be_judged_is_refused(
    name: str,
    said: str,
    data: Path,
    base: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    code, _, err = run(
        monkeypatch, capsys, "--data", data, "--artifact", base, "--source", name, "--draws", 0
    )
    assert code != 0
    assert said in err
    assert len(err.strip().splitlines()) == 1
