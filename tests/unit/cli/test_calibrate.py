"""``routoo calibrate`` makes settings that a service takes from a file of prompts."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import yaml

from support.artifacts.tiny_artifact import change_manifest, write_tiny_artifact
from support.artifacts.tiny_table_artifact import write_tiny_table_artifact
from support.tiny_pool import write_tiny_pool

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from support.processes.command_line import Ended, Run

PAIR = ("--strong", "large", "--weak", "small")
GUARANTEE = ("--policy", "guarantee", "--reference", "large", "--max-drop", "0.05")


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """Settings of a service on the tiny artifact and pool."""
    write_tiny_artifact(tmp_path / "predictor")
    write_tiny_pool(tmp_path / "pool.yaml")
    path = tmp_path / "routoo.yaml"
    path.write_text("pool: pool.yaml\npredictor: {artifact: predictor}\n")
    return path


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    """600 prompts: easy ones that every model answers, and hard ones that only large does."""
    rng = np.random.default_rng(1)
    rows = []
    for hard in (rng.random(600) < 0.4).tolist():
        right = {"small": int(not hard), "medium": int(not hard or rng.random() < 0.5), "large": 1}
        agrees = int(rng.random() < (0.9 if right["small"] else 0.2))
        rows.append(
            {
                "prompt": "hard hard" if hard else "easy easy",
                "scores": right,
                "costs_usd": {"small": 1e-6, "medium": 1e-5, "large": 1e-4},
                "signals": {"small": {"agreement": agrees}},
            }
        )
    path = tmp_path / "labels.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def calibrate(run: Run, config: Path, labels: Path) -> Callable[..., Ended]:
    def call(*arguments: str, prompts: Path = labels) -> Ended:
        return run("calibrate", *arguments, "--config", str(config), "--prompts", str(prompts))

    return call


def put_into(config: Path, fragment: str) -> None:
    """Puts a fragment into the settings, as the person who has reviewed it does."""
    values = yaml.safe_load(config.read_text())
    values.update(yaml.safe_load(fragment))
    config.write_text(yaml.safe_dump(values))


def test_a_prompt_s_task_is_told_to_the_predictor(run: Run, tmp_path: Path) -> None:
    write_tiny_table_artifact(tmp_path / "predictor")
    write_tiny_pool(tmp_path / "pool.yaml")
    config, prompts = tmp_path / "routoo.yaml", tmp_path / "prompts.jsonl"
    config.write_text("pool: pool.yaml\npredictor: {artifact: predictor}\n")
    # As a chat the strong model is behind the weak one, as code far before it.
    lines = [{"prompt": "hello", "task": "code" if at % 2 else "chat"} for at in range(40)]

    def calibrate(rows: list[dict[str, str]]) -> Ended:
        prompts.write_text("".join(json.dumps(row) + "\n" for row in rows))
        arguments = ("--policy", "threshold", *PAIR, "--strong-share", "0.5", "--json")
        return run("calibrate", *arguments, "--config", str(config), "--prompts", str(prompts))

    found = json.loads(calibrate(lines).out)["settings"]["policy"]["threshold"]["threshold"]
    assert -0.05 <= found < 0.7
    ended = calibrate([*lines, {"prompt": "hello", "task": "poetry"}])
    assert ended.code != 0
    assert f"{prompts}:41: task: unknown task 'poetry'" in ended.err


@pytest.mark.parametrize(
    ("arguments", "knob", "share"),
    [
        (("--policy", "threshold", *PAIR, "--strong-share", "0.5"), "threshold", 0.4),
        (("--policy", "threshold", *PAIR, "--strong-share", "0.3"), "threshold", 0.0),
        (("--policy", "quality_gap", *PAIR, "--target-score", "0.8"), "tolerance", 0.4),
    ],
)
def test_a_pairs_knob_is_written_with_its_provenance_and_is_taken(
    calibrate: Callable[..., Ended],
    run: Run,
    config: Path,
    labels: Path,
    arguments: tuple[str, ...],
    knob: str,
    share: float,
) -> None:
    ended = calibrate(*arguments)

    assert (ended.code, ended.err) == (0, "")
    comments = [line for line in ended.out.splitlines() if line.startswith("#")]
    digest = hashlib.sha256(labels.read_bytes()).hexdigest()
    for said in (
        digest,
        "600 prompts",
        "predictor tiny-1",
        "standard error",
        "labelled mean score",
    ):
        assert any(said in line for line in comments), said
    policy = yaml.safe_load(ended.out)["policy"]
    assert knob in policy[policy["name"]]
    put_into(config, ended.out)
    assert run("check-config", str(config)).code == 0
    figures = json.loads(calibrate(*arguments, "--json").out)
    assert figures["settings"] == {"policy": policy}
    assert figures["achieved"]["shares"]["large"] == pytest.approx(share, abs=0.04)
    assert figures["provenance"]["rows"] == 600


def test_lp_keeps_to_a_mean_cost_on_the_prompts(
    calibrate: Callable[..., Ended], run: Run, config: Path
) -> None:
    cheapest, costliest = (
        json.loads(calibrate("--policy", "lp", *target, "--json").out)["achieved"]
        for target in (("--target-score", "0"), ("--target-cost", "1"))
    )
    low, high = cheapest["predicted_cost_usd"]["mean"], costliest["predicted_cost_usd"]["mean"]
    assert low < high

    ended = calibrate("--policy", "lp", "--target-cost", str((low + high) / 2), "--json")

    found = json.loads(ended.out)
    assert low <= found["achieved"]["predicted_cost_usd"]["mean"] <= (low + high) / 2
    put_into(config, yaml.safe_dump(found["settings"]))
    shown = run("check-config", str(config)).out
    assert f"shadow price: {found['achieved']['shadow_price']:.6g} score per USD" in shown


def test_out_of_reach_is_one_line_with_the_range(calibrate: Callable[..., Ended]) -> None:
    ended = calibrate("--policy", "threshold", *PAIR, "--target-score", "0.99")
    assert (ended.code, ended.out, ended.err.count("\n")) == (2, "", 1)
    assert "--target-score 0.99 is out of reach" in ended.err
    assert "reachable mean scores: 0." in ended.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--policy", "lp"), "needs exactly one of --target-cost, --target-score"),
        (("--policy", "lp", "--strong-share", "0.3"), "--policy lp takes no --strong-share"),
        (("--policy", "threshold", "--strong-share", "0.3"), "needs --strong"),
        (
            ("--policy", "threshold", *PAIR, "--strong-share", "0.3", "--target-cost", "1"),
            "needs exactly one of",
        ),
        (
            ("--policy", "threshold", "--strong", "big", "--weak", "small", "--target-cost", "1"),
            "--strong: unknown model 'big'; the pool has small, medium, large",
        ),
        (
            ("--policy", "threshold", "--strong", "small", "--weak", "small", "--target-cost", "1"),
            "--strong and --weak are the same model",
        ),
        (("--policy", "guarantee", "--reference", "large"), "needs --max-drop"),
        (
            ("--policy", "guarantee", "--reference", "large", "--max-drop", "0"),
            "max_drop is 0.0; it has to be in (0, 1)",
        ),
        (("--policy", "cascade", "--max-drop", "0.1"), "--policy cascade takes no --max-drop"),
        (("--policy", "mood"), "mood"),
    ],
)
def test_options_that_do_not_fit_are_one_line(
    calibrate: Callable[..., Ended], arguments: tuple[str, ...], said: str
) -> None:
    ended = calibrate(*arguments)
    assert (ended.code, ended.out, ended.err.count("\n")) == (2, "", 1)
    assert said in ended.err


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"prompt": "", "scores": {}}', "is empty"),
        ('{"prompt": "a", "scores": {"smal": 1}}', "did you mean 'small'"),
        ('{"prompt": "a", "allowed_models": ["x"]}', "unknown model 'x'"),
        ('{"prompt": "a", "max_cost_usd": 0}', "max_cost_usd"),
    ],
)
def test_a_wrong_line_is_named(
    calibrate: Callable[..., Ended], tmp_path: Path, line: str, said: str
) -> None:
    path = tmp_path / "wrong.jsonl"
    path.write_text(f'"easy"\n{line}\n')
    ended = calibrate("--policy", "lp", "--target-cost", "1", prompts=path)
    assert (ended.code, ended.out) == (2, "")
    assert f"{path}:2: " in ended.err
    assert said in ended.err


def test_a_guarantee_is_proven_pinned_and_taken(
    calibrate: Callable[..., Ended], run: Run, config: Path, tmp_path: Path
) -> None:
    fragment = tmp_path / "guarantee.yaml"

    ended = calibrate(*GUARANTEE, "--out", str(fragment))

    assert (ended.code, ended.err) == (0, "")
    assert f"wrote {fragment}" in ended.out
    section = yaml.safe_load(fragment.read_text())["policy"]["guarantee"]
    assert section["price"] > 0.0
    assert (section["predictor_version"], section["confidence"]) == ("tiny-1", 0.95)
    put_into(config, fragment.read_text())
    checked = run("check-config", str(config))
    assert checked.code == 0
    assert "policy: guarantee-" in checked.out
    said = "guarantee: mean score at most 0.05 below large, at confidence 0.95"
    assert said in checked.out


def test_the_start_learns_from_the_labels_what_calibrate_writes(
    calibrate: Callable[..., Ended], run: Run, config: Path
) -> None:
    section = {"reference": "large", "max_drop": 0.05, "labels": "labels.jsonl"}
    put_into(config, yaml.safe_dump({"policy": {"name": "guarantee", "guarantee": section}}))
    assert run("check-config", str(config)).code == 0
    section["max_drop"] = 0.0001
    put_into(config, yaml.safe_dump({"policy": {"name": "guarantee", "guarantee": section}}))
    ended = run("check-config", str(config))
    assert (ended.code, ended.err.count("\n")) == (2, 1)
    assert "policy.guarantee: 600 labels do not prove a drop of at most 0.0001" in ended.err
    assert "more labels would" in ended.err


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("predictor", "proven with predictor tiny-1, and this is tiny-2"),
        ("pool", "proven with pool "),
        ("labels", "is not the file that the price was proven on"),
        ("no labels", "cannot be read: No such file"),
        ("reference", "policy.guarantee.reference: unknown model 'big'"),
    ],
)
def test_a_guarantee_of_something_else_stops_the_start_with_one_line(
    calibrate: Callable[..., Ended],
    run: Run,
    config: Path,
    labels: Path,
    tmp_path: Path,
    change: str,
    said: str,
) -> None:
    fragment = yaml.safe_load(calibrate(*GUARANTEE).out)
    section: dict[str, Any] = fragment["policy"]["guarantee"]
    if change == "predictor":
        change_manifest(tmp_path / "predictor", predictor_version="tiny-2")
    elif change == "pool":
        pool = tmp_path / "pool.yaml"
        pool.write_text(pool.read_text().replace("30", "31"))
    elif change == "labels":
        section["labels"] = str(labels)
        labels.write_text(labels.read_text() + '"easy"\n')
    elif change == "no labels":
        section["labels"] = "none.jsonl"
    else:
        section["reference"] = "big"
    put_into(config, yaml.safe_dump(fragment))

    ended = run("check-config", str(config))

    assert (ended.code, ended.err.count("\n")) == (2, 1)
    assert said in ended.err


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ({}, "needs labels, or the price"),
        ({"price": 1.0}, "needs the predictor_version and the pool_digest"),
    ],
)
def test_a_guarantee_that_is_neither_learned_nor_can_be_is_refused(
    run: Run, config: Path, section: dict[str, Any], said: str
) -> None:
    guarantee = {"reference": "large", "max_drop": 0.05, **section}
    put_into(config, yaml.safe_dump({"policy": {"name": "guarantee", "guarantee": guarantee}}))
    ended = run("check-config", str(config))
    assert ended.code == 2
    assert said in ended.err


def test_too_few_labels_are_refused_with_how_many_more(
    calibrate: Callable[..., Ended], labels: Path, tmp_path: Path
) -> None:
    few = tmp_path / "few.jsonl"
    few.write_text("".join(labels.read_text().splitlines(keepends=True)[:40]))
    ended = calibrate(*GUARANTEE, prompts=few)
    assert (ended.code, ended.out) == (2, "")
    assert "40 labels do not prove a drop of at most 0.05 against large" in ended.err
    assert "more labels would" in ended.err


def test_a_missing_label_is_named(
    calibrate: Callable[..., Ended], labels: Path, tmp_path: Path
) -> None:
    gap = tmp_path / "gap.jsonl"
    gap.write_text(labels.read_text() + '{"prompt": "easy", "scores": {"small": 1, "large": 1}}\n')
    ended = calibrate(*GUARANTEE, prompts=gap)
    assert ended.code == 2
    assert f"{gap}:601: has no score of medium" in ended.err


def test_a_rule_is_learned_and_taken(
    calibrate: Callable[..., Ended], run: Run, config: Path, tmp_path: Path
) -> None:
    rule = tmp_path / "rule.yaml"

    ended = calibrate("--policy", "cascade", "--beside", "medium", "--out", str(rule))

    assert (ended.code, ended.err) == (0, "")
    assert "agreement of small: learned from 600 answers" in ended.out
    (correction,) = yaml.safe_load(rule.read_text())["corrections"]
    assert correction["models"]["small"]["slope"] > 1.0
    put_into(config, "policy: {name: cascade, cascade: rule.yaml}")
    assert "policy: cascade-" in run("check-config", str(config)).out


def test_the_policy_cascade_needs_a_plan(
    calibrate: Callable[..., Ended], run: Run, config: Path, tmp_path: Path
) -> None:
    calibrate("--policy", "cascade", "--out", str(tmp_path / "rule.yaml"))
    put_into(config, "policy: {name: cascade, cascade: rule.yaml}")
    ended = run("check-config", str(config))
    assert ended.code == 2
    assert "the rule has no plan to begin with two models" in ended.err
    put_into(config, "policy: {cascade: rule.yaml}")
    assert run("check-config", str(config)).code == 0


def test_a_folder_that_is_not_there_is_found_out_first(
    calibrate: Callable[..., Ended], tmp_path: Path
) -> None:
    ended = calibrate(*GUARANTEE, "--out", str(tmp_path / "none" / "f.yaml"))
    assert ended.code == 2
    assert "there is no folder" in ended.err
