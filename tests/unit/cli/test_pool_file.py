"""``routoo pool``: its screens, its JSON, its edits, and what it refuses."""

from __future__ import annotations

import json
import stat
import sys
from typing import TYPE_CHECKING

import pytest
import yaml

from routoo.routing.pool import DEFAULT_POOL, load_pool
from support.artifacts.tiny_artifact import change_manifest, write_tiny_artifact
from support.tables.litellm_table import write_table
from support.tables.tiny_model_table import write_table_folder
from support.tiny_pool import SMALL

if TYPE_CHECKING:
    from pathlib import Path

    from support.processes.command_line import Run

COMMENT = "# Reviewed by both of us.\n"
OWN = {
    "name": "z-ai/glm-9",
    "usd_per_1m_input_tokens": 0.5,
    "usd_per_1m_output_tokens": 3,
    "price_status": "assumed",
    "context_window_tokens": 200000,
    "deprecation_date": "2000-01-31",
    "time_to_first_token_ms": 1,
    "time_per_output_token_ms": 1,
}


@pytest.fixture
def pool(tmp_path: Path) -> Path:
    """A pool file with a comment, which only its owner may read."""
    path = tmp_path / "pool.yaml"
    path.write_text(COMMENT + yaml.safe_dump({"models": [SMALL, OWN]}, sort_keys=False))
    path.chmod(0o600)
    return path


def test_show_lists_prices_windows_last_days_and_sources(pool: Path, run: Run) -> None:
    ended = run("pool", "show", "--pool", str(pool))
    assert (ended.code, ended.err) == (0, "")
    header, small, own = ended.out.splitlines()
    assert header.split("  ")[0] == "model"
    assert "evidence" not in header
    assert small.split() == ["small", "0.100", "0.200", "4,096", "chat", "audio", "stated"]
    assert own.split() == [
        "z-ai/glm-9",
        "z-ai",
        "0.500",
        "3.000",
        "200,000",
        "2000-01-31",
        "assumed",
    ]


def test_show_tells_the_shipped_pool_and_json_tells_all(run: Run) -> None:
    reply = json.loads(run("pool", "show", "--json").out)
    assert reply["pool"] == str(DEFAULT_POOL)
    assert [one["name"] for one in reply["models"]] == list(load_pool().names)
    assert reply["models"][0]["usd_per_1m_cached_input_tokens"] is None
    assert reply["models"][0]["evidence"].endswith(" averages")


def test_show_tells_the_evidence_of_a_predictor_that_names_it(
    tmp_path: Path, pool: Path, run: Run
) -> None:
    predictor = write_tiny_artifact(tmp_path / "predictor")
    change_manifest(predictor, training={"evidence": {"small": "400 prompts", "other": "none"}})
    arguments = ("pool", "show", "--pool", str(pool), "--predictor", str(predictor))
    header, small, own = run(*arguments).out.splitlines()
    place = header.index("evidence")
    assert small[place:].startswith("400 prompts  ")
    assert own[place:].startswith(" ")
    models = json.loads(run(*arguments, "--json").out)["models"]
    assert [one["evidence"] for one in models] == ["400 prompts", None]


def test_add_takes_prices_from_options(pool: Path, run: Run) -> None:
    arguments = ("--input-usd", "1", "--output-usd", "2.5", "--window", "8000")
    ended = run("pool", "add", "ours/new", "--pool", str(pool), *arguments)
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.startswith(
        "added ours/new: $1.000 in and $2.500 out per 1M tokens (assumed), window 8,000\n"
    )
    assert "times are assumed" in ended.out
    model = load_pool(pool).models[-1]
    assert (model.name, model.provider, model.price_status) == ("ours/new", "ours", "assumed")
    assert pool.read_text().startswith(COMMENT)
    assert stat.S_IMODE(pool.stat().st_mode) == 0o600


def test_add_takes_everything_from_the_catalogue(pool: Path, run: Run) -> None:
    ended = run("pool", "add", "anthropic/claude-opus-4-8", "--pool", str(pool), "--json")
    added = json.loads(ended.out)["added"]
    assert added["usd_per_1m_input_tokens"] == 5
    assert added["usd_per_1m_cached_input_tokens"] == 0.5
    assert added["price_status"] == "stated"
    assert added["price_source"].endswith("anthropic:claude-opus-4-8")
    assert load_pool(pool).models[-1].model_dump(mode="json") == added


def test_add_completes_its_options_from_a_named_entry(tmp_path: Path, pool: Path, run: Run) -> None:
    table = str(write_table(tmp_path))
    entry = ("--from", "litellm:zai/glm-9", "--table", table)
    prices = ("--input-usd", "7", "--output-usd", "8", "--price-source", "our contract")
    times = ("--first-token-ms", "5", "--per-token-ms", "6")
    ended = run("pool", "add", "eu/glm", "--pool", str(pool), *entry, *prices, *times)
    assert (ended.code, ended.err) == (0, "")
    assert "assumed" not in ended.out
    model = load_pool(pool).models[-1]
    assert (model.usd_per_1m_input_tokens, model.price_source) == (7, "our contract")
    assert model.usd_per_1m_cached_input_tokens is None, (
        "cached prices belong to other input prices"
    )
    assert (model.context_window_tokens, model.max_output_tokens) == (200000, 128000)
    assert model.capabilities == ("chat", "tools", "reasoning")


def test_remove_takes_a_model_out(pool: Path, run: Run) -> None:
    ended = run("pool", "remove", "small", "--pool", str(pool))
    assert (ended.code, ended.out) == (0, "removed small; 1 model left\n")
    assert load_pool(pool).names == ("z-ai/glm-9",)
    assert pool.read_text().startswith(COMMENT)
    last = run("pool", "remove", "z-ai/glm-9", "--pool", str(pool), "--json")
    assert (last.code, json.loads(last.out)["exit_code"]) == (2, 2)
    assert "is the last model" in last.err


def test_check_warns_and_fails_only_when_strict(pool: Path, run: Run) -> None:
    ended = run("pool", "check", "--pool", str(pool))
    assert (ended.code, ended.err) == (0, "")
    assert "z-ai/glm-9 ended on 2000-01-31; remove it from the pool\n" in ended.out
    assert "small is not known to the predictor; remove it" in ended.out
    assert run("pool", "check", "--pool", str(pool), "--strict").code == 1
    reply = json.loads(run("pool", "check", "--pool", str(pool), "--json").out)
    assert reply["models"] == 2
    assert {one["kind"] for one in reply["warnings"]} == {"ends", "unknown_to_predictor"}


def test_check_finds_nothing_in_the_shipped_pool(run: Run) -> None:
    ended = run("pool", "check", "--strict")
    assert (ended.code, ended.out) == (0, "16 models, no warnings\n")


def test_sync_shows_a_diff_and_writes_only_when_told(tmp_path: Path, pool: Path, run: Run) -> None:
    before = pool.read_text()
    arguments = ("pool", "sync", "--pool", str(pool), "--table", str(write_table(tmp_path)))
    shown = run(*arguments)
    assert (shown.code, shown.err) == (0, "")
    assert pool.read_text() == before
    assert "kept: small: no catalogue here has a model of this name\n" in shown.out
    jump = "LOOK: z-ai/glm-9: usd_per_1m_input_tokens goes from 0.5 to 0.1, by more than a factor"
    assert jump in shown.out
    assert f"--- {pool}\n+++ {pool}\n@@" in shown.out
    assert "+  usd_per_1m_cached_input_tokens: 0.02\n" in shown.out
    assert shown.out.endswith("nothing is written without --write\n")

    written = json.loads(run(*arguments, "--write", "--json").out)
    assert written["written"] is True
    assert written["kept"] == {"small": "no catalogue here has a model of this name"}
    assert {"usd_per_1m_input_tokens"} == {
        one["field"] for one in written["changes"] if one["jump"]
    }
    assert load_pool(pool).models[1].usd_per_1m_input_tokens == 0.1
    assert pool.read_text().startswith(COMMENT)
    again = run(*arguments, "--write")
    assert again.out.splitlines()[-1].startswith("1 model as in genai-prices ")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("remove", "small"), "name the pool file to change with --pool FILE; a copy of"),
        (("add", "a/b"), "name the pool file to change with --pool FILE"),
        (("sync", "--write"), "name the pool file to change with --pool FILE"),
        (("show", "--pool", "none.yaml"), "none.yaml: cannot be read: No such file"),
        (("check", "--pool", "none.yaml"), "none.yaml: cannot be read: No such file"),
        (("sync", "--pool", "broken.yaml"), "broken.yaml: line 1, column 11: malformed YAML"),
        (("show", "--predictor", "none"), "none/manifest.json: cannot be read"),
        (("check", "--days", "-1"), "--days"),
        (("remove", "x", "--pool", "pool.yaml"), "unknown model 'x'; the pool has small, z-ai/glm"),
        (("add", "small", "--pool", "pool.yaml"), "'small' stands already; `routoo pool remove`"),
        (
            ("add", "a/b", "--pool", "pool.yaml"),
            "; pass --input-usd, --output-usd, --window, or name an entry: --from PACKAGE:KEY",
        ),
        (
            ("add", "a/b", "--pool", "pool.yaml", "--from", "elsewhere"),
            "--from elsewhere: no such entry in genai-prices",
        ),
        (
            ("add", "qwen/qwen3.6-35b-a3b", "--pool", "pool.yaml"),
            "qwen/qwen3.6-35b-a3b does not say all; pass --window",
        ),
        (
            ("add", "a/b", "--pool", "pool.yaml", "--input-usd", "1"),
            "pass both --input-usd and --output-usd, or neither",
        ),
        (
            ("add", "a/b", "--pool", "pool.yaml", "--input-usd", "-1", "--output-usd", "1",
             "--window", "9"),
            "usd_per_1m_input_tokens: Input should be greater than or equal to 0 (given: -1.0)",
        ),
        (
            ("add", "a/b", "--pool", "pool.yaml", "--input-usd", "1", "--output-usd", "1",
             "--window", "9", "--deprecation-date", "soon"),
            "deprecation_date: has to be a day, written as 2027-04-30 (given: 'soon')",
        ),
        (("sync", "--pool", "pool.yaml", "--table", "pool.yaml"), "is not LiteLLM's table"),
    ],
)  # fmt: skip
def test_bad_input_is_one_line_with_its_remedy(
    monkeypatch: pytest.MonkeyPatch, pool: Path, arguments: tuple[str, ...], words: str, run: Run
) -> None:
    monkeypatch.chdir(pool.parent)
    (pool.parent / "broken.yaml").write_text("models: [{")
    before = pool.read_text()
    ended = run("pool", *arguments)
    assert (ended.code, ended.out) == (2, "")
    assert words in ended.err
    assert ended.err.count("\n") == 1
    assert pool.read_text() == before


def test_without_a_catalogue_the_extra_is_named(
    monkeypatch: pytest.MonkeyPatch, pool: Path, run: Run
) -> None:
    monkeypatch.setitem(sys.modules, "genai_prices.data", None)
    monkeypatch.setattr("routoo.routing.upkeep.catalogues.installed_table", lambda: None)
    for arguments in (("sync",), ("add", "z-ai/glm-5")):
        ended = run("pool", *arguments, "--pool", str(pool))
        assert (ended.code, ended.out) == (2, "")
        assert "install it with `pip install 'routoo[catalogue]'`" in ended.err
        assert ended.err.count("\n") == 1
    options = ("--input-usd", "1", "--output-usd", "1", "--window", "9")
    assert run("pool", "add", "z-ai/glm-5", "--pool", str(pool), *options).code == 0


def test_show_check_and_add_tell_what_the_table_of_models_rests_on(
    pool: Path, tmp_path: Path, run: Run
) -> None:
    predictor = str(write_table_folder(tmp_path / "predictor" / "1"))
    add = ("pool", "add", "--pool", str(pool), "--predictor", predictor, "--input-usd", "1",
           "--output-usd", "2", "--window", "4096")  # fmt: skip
    named = run(*add, "ours/best", "--predictor-name", "large@high", "--json")
    assert not any("predictor" in one for one in json.loads(named.out)["remarks"])
    bare = run(*add, "lab/guessed", "--json")
    assert "lab/guessed has no graded prompts" in json.loads(bare.out)["remarks"][-1]
    lost = run(*add, "lab/smal")
    assert "the nearest names are lab/small" in lost.out.splitlines()[-1]

    listed = json.loads(run("pool", "show", "--pool", str(pool), "--predictor", predictor,
                            "--json").out)["models"]  # fmt: skip
    assert [one["evidence"] for one in listed] == [
        None, None, "4 published averages", "none of its own", None,
    ]  # fmt: skip
    checked = run("pool", "check", "--pool", str(pool), "--predictor", predictor, "--json")
    warned = {(one["model"], one["kind"]) for one in json.loads(checked.out)["warnings"]}
    assert ("lab/guessed", "no_evidence") in warned
    assert ("lab/smal", "unknown_to_predictor") in warned
    assert not [one for one in warned if one[0] == "ours/best"]


def test_a_pool_with_arms_is_shown_and_edited(pool: Path, run: Run) -> None:
    armed = {
        **SMALL,
        "name": "lab/armed",
        "arms": [{"name": "low", "effort": "low"}, {"name": "x"}],
    }
    specs = [armed, {**OWN, "deprecation_date": "2099-01-31"}]
    pool.write_text(COMMENT + yaml.safe_dump({"models": specs}, sort_keys=False))
    shown = run("pool", "show", "--pool", str(pool)).out.splitlines()
    assert "arms" in shown[0].split()
    assert "low x" in " ".join(shown[1].split())
    removed = run("pool", "remove", "z-ai/glm-9", "--pool", str(pool), "--json")
    assert json.loads(removed.out)["models"] == ["lab/armed"]
    assert load_pool(pool).names == ("lab/armed@low", "lab/armed@x")
    assert pool.read_text().startswith(COMMENT)
