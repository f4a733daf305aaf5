"""``routoo-export onboard``: a row more in the table, and nothing else; or one line."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from routoo.cli.app import main as routoo
from routoo.config.sections.predictor import PredictorSettings
from routoo.predictor.artifact import load_artifact
from routoo.predictor.chain import Watch
from routoo.predictor.manager import Predictors
from routoo.predictor.onnx import OnnxPredictor
from routoo.server.file_watch import FileWatch, files_of
from routoo_export.cli.app import main
from support.tables.small_catalogue import small_catalogue, small_measurements
from support.tables.tiny_table import HARD, WORDS, write_tiny_table
from support.tiny_pool import SPECS
from support.tiny_service import tiny_settings

if TYPE_CHECKING:
    from pathlib import Path

NEW = "ours/new"
PROMPTS = [f"{HARD if i % 2 else 'please'} {word} {i}" for i in range(20) for word in WORDS]
COLUMNS = ("score_mean", "score_var", "weights", "weights_var", "log_tokens", "token_weights",
           "reasoning_share", "evidence", "benchmarks")  # fmt: skip


class Run(Protocol):
    def __call__(self, *arguments: object) -> tuple[int, str, str]: ...


@pytest.fixture(scope="session")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("table") / "predictor" / "1"
    return write_tiny_table(folder, small_catalogue(small_measurements()))


@pytest.fixture
def artifact(written: Path, tmp_path: Path) -> Path:
    """A version folder of one's own."""
    folder = tmp_path / "predictor" / "1"
    folder.mkdir(parents=True)
    for path in written.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    return folder


@pytest.fixture
def run(artifact: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    monkeypatch.delenv("ROUTOO_DATA", raising=False)

    def run(*arguments: object) -> tuple[int, str, str]:
        options = ["routoo-export", "onboard", "--artifact", str(artifact), *map(str, arguments)]
        monkeypatch.setattr("sys.argv", options)
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capsys.readouterr()
        return int(ended.value.code or 0), out, err

    return run


def outcomes(path: Path, **scores: Any) -> Path:
    """Graded prompts, code, mathematics and puzzles in turn."""
    columns = {name: np.asarray(values) for name, values in scores.items()}
    ids = [str(i) for i in range(len(PROMPTS))]
    pq.write_table(pa.table({"prompt_id": ids, "prompt": PROMPTS, **columns}), path)
    return path


def test_in_place_changes_models_npz_alone_and_no_row_of_another(artifact: Path, run: Run) -> None:
    before = {path.name: path.read_bytes() for path in artifact.iterdir()}
    old = load_artifact(artifact)
    code, out, err = run(NEW, "--like", "m03", "--in-place", "--json")
    assert (code, err) == (0, "")
    after = {path.name: path.read_bytes() for path in artifact.iterdir()}
    assert {name for name in before | after if before.get(name) != after.get(name)} == {
        "models.npz"
    }
    new = load_artifact(artifact)
    assert old.table is not None
    assert new.table is not None
    assert new.table.names == (*old.table.names, NEW)
    for name in COLUMNS:
        others = getattr(new.table, name)[:-1]
        assert others.tobytes() == getattr(old.table, name).tobytes()
    asked = ["python now", "a hard integral", "riddle"]
    first, second = OnnxPredictor(old).predict(asked), OnnxPredictor(new).predict(asked)
    assert second.scores[:, :-1].tobytes() == first.scores.tobytes()
    assert second.output_tokens[:, :-1].tobytes() == first.output_tokens.tobytes()
    report = json.loads(out)
    assert report["version"] == new.version != old.version
    assert report["folder"] == str(artifact)


def test_the_next_version_is_a_copy_and_the_old_one_stays(artifact: Path, run: Run) -> None:
    before = (artifact / "models.npz").read_bytes()
    code, out, _ = run(NEW, "--benchmark", "livebench.Coding=78.3", "--release", "2026-05")
    assert code == 0
    assert NEW in out
    assert (artifact / "models.npz").read_bytes() == before
    copy = load_artifact(artifact.with_name("2"))
    assert copy.table is not None
    assert copy.table.row_of(NEW) == 24
    assert copy.table.benchmarks[24].sum() > 0
    assert {path.name for path in artifact.parent.iterdir()} == {"1", "2"}


def test_graded_prompts_move_their_tasks_and_their_lengths(
    artifact: Path, tmp_path: Path, run: Run
) -> None:
    good = np.tile([1.0, 0.0, 0.5], 20)
    file = outcomes(
        tmp_path / "graded.parquet",
        **{"score:me": good, "out_tokens:me": np.tile([400, 50, 50], 20)},
    )
    code, out, err = run(NEW, "--outcomes", file, "--column", "me", "--in-place", "--json")
    assert (code, err) == (0, "")
    report = json.loads(out)
    assert (report["graded_prompts"], report["equated_by"]) == (60, [])
    means = [report["tasks"][task]["value"] for task in WORDS.values()]
    assert means[0] > means[2] + 0.15 > means[1] + 0.3
    table = load_artifact(artifact).table
    assert table is not None
    row = table.index[NEW]
    code_at, math_at = (table.tasks.index(task) for task in ("code_generate", "math_hard"))
    assert table.evidence[row, code_at] == pytest.approx(20, abs=0.1)
    assert table.log_tokens[row, code_at] > table.log_tokens[row, math_at] + 0.5


def test_an_arm_of_a_model_is_graded_by_the_column_arm(
    artifact: Path, tmp_path: Path, run: Run
) -> None:
    file = tmp_path / "graded.parquet"
    rows = range(60)
    columns = {
        "prompt_id": [f"{at}" for at in rows] * 2,
        "prompt": [f"{list(WORDS)[at % 3]} {at}" for at in rows] * 2,
        "model": ["lab/new"] * 120,
        "arm": ["low"] * 60 + ["high"] * 60,
        "score": [0.25] * 60 + [0.75, 1.0] * 30,
    }
    pq.write_table(pa.table(columns), file)
    means = {}
    for arm in ("low", "high"):
        code, out, err = run(f"lab/new@{arm}", "--outcomes", str(file), "--in-place", "--json")
        assert (code, err) == (0, "")
        report = json.loads(out)
        assert report["graded_prompts"] == 60
        means[arm] = report["score"]
    assert means["high"] > means["low"] + 0.1
    assert load_artifact(artifact).knows("lab/new@high")


def test_models_of_the_table_equate_a_mild_grader(tmp_path: Path, run: Run) -> None:
    rng = np.random.default_rng(0)
    mild = {name: (rng.random(60) < 0.9).astype(float) for name in ("lab/m03", "lab/m04", NEW)}
    scores = {f"score:{name}": values for name, values in mild.items()}
    alone = outcomes(tmp_path / "alone.parquet", **{f"score:{NEW}": mild[NEW]})
    _, out, _ = run(NEW, "--outcomes", alone, "--json")
    taken = json.loads(out)
    _, out, _ = run(NEW, "--outcomes", outcomes(tmp_path / "all.parquet", **scores), "--json")
    equated = json.loads(out)
    assert equated["equated_by"] == ["lab/m03", "lab/m04"]
    of = "code_generate"
    assert taken["tasks"][of]["value"] > 0.75
    # The table has .5 for both, so .9 by this grader means .5 in the table.
    assert equated["tasks"][of]["value"] == pytest.approx(0.5, abs=0.15)


def test_replace_renews_the_row_of_a_name_or_an_alias(artifact: Path, run: Run) -> None:
    old = load_artifact(artifact).table
    code, _, _ = run("m03", "--benchmark", "livebench.Coding=9", "--in-place", "--replace")
    new = load_artifact(artifact).table
    assert code == 0
    assert old is not None
    assert new is not None
    assert new.names == old.names
    row = new.index["lab/m03"]
    changed = (new.score_mean != old.score_mean).any(axis=1)
    assert np.flatnonzero(changed).tolist() == [row]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("lab/m03", "--like", "lab/m04"), "the table has 'lab/m03' already; take --replace"),
        (("M03", "--like", "lab/m04"), "has 'M03' already (it means lab/m03)"),
        (("a b", "--like", "lab/m04"), "'a b' is no name"),
        ((NEW,), "no evidence; give graded prompts, benchmarks or a similar model"),
        ((NEW, "--release", "2026-05"), "no evidence"),
        ((NEW, "--like", "lab/m3"), "no model 'lab/m3'; the nearest are"),
        ((NEW, "--like", "m03", "--distance", "-1"), "is not 0 or more"),
        ((NEW, "--like", "m03", "--release", "2026-13"), "write a month as 2026-05"),
        ((NEW, "--like", "m03", "--params-b", "nan"), "above 0"),
        ((NEW, "--benchmark", "livebench.Codin=50"), "the nearest are livebench.Coding"),
        ((NEW, "--benchmark", "livebench.Coding"), "give NAME=VALUE"),
        ((NEW, "--benchmark", "livebench.Coding=inf"), "is not in percent"),
        (
            (NEW, "--benchmark", "livebench.Coding=1", "--benchmark", "livebench.Coding=2"),
            "given twice",
        ),
        (
            (NEW, "--like", "m03", "--distance", "0", "--benchmark", "livebench.Coding=0"),
            "livebench.Coding and the likeness to lab/m03 put the model",
        ),
        ((NEW, "--outcomes", "nothing.parquet"), "nothing.parquet"),
    ],
)
def test_bad_input_is_one_line_and_changes_nothing(
    artifact: Path, run: Run, arguments: tuple[str, ...], message: str
) -> None:
    before = {path.name: path.read_bytes() for path in artifact.iterdir()}
    code, out, err = run(*arguments, "--in-place")
    assert (code, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1
    assert {path.name: path.read_bytes() for path in artifact.iterdir()} == before


def test_grades_that_contradict_an_average_are_refused_and_both_are_named(
    tmp_path: Path, run: Run
) -> None:
    file = outcomes(tmp_path / "graded.parquet", **{f"score:{NEW}": np.zeros(60)})
    code, _, err = run(NEW, "--outcomes", file, "--benchmark", "livebench.Coding=99.9")
    assert code == 2
    assert "graded code_generate and livebench.Coding put the model" in err


def test_contradicting_evidence_is_taken_by_force(run: Run) -> None:
    likeness = ("--like", "m03", "--distance", "0", "--benchmark", "livebench.Coding=0")
    assert run(NEW, *likeness)[0] == 2
    assert run(NEW, *likeness, "--force")[0] == 0


def test_a_model_may_be_likened_to_one_that_was_onboarded(artifact: Path, run: Run) -> None:
    assert run(NEW, "--like", "m03", "--distance", "0.1", "--in-place")[0] == 0
    for name, distance in (("ours/same", 0), ("ours/near", 0.3)):
        assert run(name, "--like", NEW, "--distance", distance, "--in-place")[0] == 0
    table = load_artifact(artifact).table
    assert table is not None
    new, same, near = (table.index[name] for name in (NEW, "ours/same", "ours/near"))
    for figure in ("score_mean", "score_var", "log_tokens", "reasoning_share"):
        values = getattr(table, figure)
        np.testing.assert_allclose(values[same], values[new], rtol=1e-3)
    # The evidence is that of the other model; what is likened to it is less certain.
    assert (table.score_var[near] > table.score_var[new]).all()
    assert not table.evidence[[same, near]].any()


def test_a_folder_without_number_has_no_next(artifact: Path, run: Run) -> None:
    own = artifact.rename(artifact.with_name("own"))
    assert "no number of a version" in run("ours/newer", "--like", "m03", "--artifact", own)[2]


def test_a_running_service_sees_the_file_and_takes_the_new_row(
    artifact: Path, tmp_path: Path, run: Run
) -> None:
    settings = tiny_settings(tmp_path, predictor={"artifact": artifact})
    watch = FileWatch(lambda: files_of(None, settings))
    predictor = PredictorSettings(artifact=artifact)
    predictors = Predictors(
        predictor, load_artifact(artifact), Watch(), models=("lab/m03", "lab/m04")
    )
    assert predictors.prepare(predictor) is None
    assert run(NEW, "--like", "m03", "--in-place")[0] == 0
    assert [watch.changed(), watch.changed(), watch.changed()] == [False, True, False]
    line = predictors.prepare(predictor, lambda _: ("lab/m03", NEW))
    assert line is not None
    predictors.take(line)
    answer = predictors.predictor.predict(["python now"])
    assert answer.scores.shape == (1, 3)
    predictors.close()


def test_what_was_calibrated_outlives_a_new_row_and_not_a_renewed_one_of_the_pool(
    artifact: Path, tmp_path: Path, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    models = [{**spec, "predictor_name": f"lab/m0{at}"} for at, spec in enumerate(SPECS, start=3)]
    (tmp_path / "pool.yaml").write_text(yaml.safe_dump({"models": models}))
    scores = {spec["name"]: 1 for spec in SPECS}
    labels = [json.dumps({"prompt": f"riddle {at}", "scores": scores}) for at in range(600)]
    (tmp_path / "labels.jsonl").write_text("\n".join(labels))
    config, fragment = tmp_path / "routoo.yaml", tmp_path / "fragment.yaml"
    settings = {"pool": "pool.yaml", "predictor": {"artifact": str(artifact)}}
    config.write_text(yaml.safe_dump(settings))
    asked = ("--policy", "guarantee", "--reference", "large", "--max-drop", "0.05")
    files = ("--config", str(config), "--prompts", str(tmp_path / "labels.jsonl"))
    assert routoo(("calibrate", *asked, *files, "--out", str(fragment))) == 0
    config.write_text(yaml.safe_dump(settings | yaml.safe_load(fragment.read_text())))
    assert routoo(("check-config", str(config))) == 0

    assert run(NEW, "--like", "m03", "--in-place")[0] == 0
    assert routoo(("check-config", str(config))) == 0

    assert run("lab/m03", "--like", "lab/m09", "--in-place", "--replace")[0] == 0
    capsys.readouterr()
    assert routoo(("check-config", str(config))) == 2
    assert "its price was proven with predictor" in capsys.readouterr().err
