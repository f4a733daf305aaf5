"""Arms in operation: they come with a reload, and the command shows them."""

from __future__ import annotations

import asyncio
import json
import os
from typing import TYPE_CHECKING

import yaml

from routoo.predictor.artifact import load_artifact
from routoo.server.assembly import check
from support.artifacts.tiny_table_artifact import MODELS, change_table, write_tiny_table_artifact
from support.processes.command_line import ROUTOO, patient
from support.tiny_pool import ARMED, ARMED_NAMES, SPECS, write_armed_pool
from support.tiny_service import serving, table_settings, tiny_settings
from support.watched import HANG_S

if TYPE_CHECKING:
    from pathlib import Path

    from support.tiny_service import Running


async def routoo(running: Running, *arguments: str) -> str:
    """Runs the command with the address of the service, and returns what it prints."""
    environment = {**os.environ, "ROUTOO_ADDRESS": running.service.address, "COLUMNS": "200"}
    made = await asyncio.create_subprocess_exec(
        str(ROUTOO), *patient(arguments), env=environment, stdout=-1, stderr=-1
    )
    out, err = await made.communicate()
    assert (made.returncode, err) == (0, b"")
    return out.decode()


async def test_arms_come_and_go_with_a_reload(tmp_path: Path) -> None:
    settings = tiny_settings(tmp_path)
    plain_specs = [{key: value for key, value in one.items() if key != "arms"} for one in ARMED]
    (tmp_path / "pool.yaml").write_text(yaml.safe_dump({"models": plain_specs}))
    async with serving(settings) as running:

        async def reloaded() -> str:
            async with asyncio.timeout(HANG_S):
                return await running.service.reloader.start(lambda: settings)

        plain = await running.route("hard", allowed_models=["medium"])
        write_armed_pool(tmp_path / "pool.yaml")
        assert await reloaded() == "switched"
        reply = await running.route("hard", allowed_models=["medium@low"])
        assert (reply.model, reply.arm.name) == ("medium", "low")
        assert reply.predicted_score < plain.predicted_score
        # An arm that stays keeps its limit, as a model keeps its prices.
        path = tmp_path / "pool.yaml"
        whole = path.read_text()
        path.write_text(whole.replace("max_output_tokens: 40\n", "kind: ask\n"))
        assert path.read_text() != whole
        assert await reloaded() == "refused"
        path.write_text(yaml.safe_dump({"models": plain_specs}))
        assert await reloaded() == "switched"
        again = await running.route("hard", allowed_models=["medium"])
        assert not again.HasField("arm")
        assert again.policy_version == plain.policy_version
        assert again.predicted_score == plain.predicted_score


async def test_an_artifact_with_a_row_of_the_arm_is_taken_at_a_reload(tmp_path: Path) -> None:
    settings = table_settings(tmp_path)
    specs = [{**SPECS[0], "arms": [{"name": "x", "effort": "high"}]}, *SPECS[1:]]
    (tmp_path / "pool.yaml").write_text(yaml.safe_dump({"models": specs}))
    async with serving(settings) as running:
        before = await running.route("math", allowed_models=["small"])
        assert not before.arm.known
        folder = write_tiny_table_artifact(tmp_path / "predictor")
        change_table(folder, names=(*MODELS[:-1], "small@x"), aliases={})
        async with asyncio.timeout(HANG_S):
            assert await running.service.reloader.start(lambda: settings) == "switched"
        after = await running.route("math", allowed_models=["small"])
        assert after.arm.known
        assert after.predicted_score > before.predicted_score + 0.5
        assert after.policy_version != before.policy_version
    assert load_artifact(folder).knows("small@x")


async def test_the_command_shows_arms(tmp_path: Path) -> None:
    write_armed_pool(tmp_path / "pool.yaml")
    async with serving(tiny_settings(tmp_path)) as running:
        listed = await routoo(running, "models")
        assert [line.split()[0] for line in listed.splitlines()[1 : len(ARMED_NAMES) + 1]] == list(
            ARMED_NAMES
        )
        assert "effort high" in listed
        assert "at most 40 tokens" in listed
        assert "tier priority" in listed
        assert "model's, with an offset" in listed
        routed = await routoo(running, "route", "hard", "--allow", "medium@high")
        assert routed.splitlines()[0] == "medium@high"
        assert "effort high" in routed
        told = json.loads(await routoo(running, "route", "hard", "--allow", "large", "--json"))
        assert told["model"] == "large"
        assert told["arm"]["name"] in {"short", "whole", "at-once"}


async def test_a_batch_is_carried_out_with_the_arms_that_were_shown(tmp_path: Path) -> None:
    write_armed_pool(tmp_path / "pool.yaml")
    prompts, out = tmp_path / "prompts.jsonl", tmp_path / "decided.jsonl"
    prompts.write_text("".join(json.dumps({"prompt": f"hard {at}"}) + "\n" for at in range(6)))
    async with serving(tiny_settings(tmp_path)) as running:
        batch = ("batch", str(prompts), "--budget-usd", "0.02")
        shown = await routoo(running, *batch, "--dry-run", "--out", str(out))
        assert "@" in shown
        decided = [json.loads(line) for line in out.read_text().splitlines()]
        again = tmp_path / "again.jsonl"
        await routoo(running, "batch", str(prompts), "--assignment", str(out), "--out", str(again))
        carried = [json.loads(line) for line in again.read_text().splitlines()]
    assert [(one["model"], one.get("arm")) for one in carried] == [
        (one["model"], one.get("arm")) for one in decided
    ]


def test_a_check_counts_models_and_arms(tmp_path: Path) -> None:
    (tmp_path / "pool.yaml").write_text(yaml.safe_dump({"models": list(ARMED)}))
    assert "pool: 3 models, 7 arms" in check(tiny_settings(tmp_path))
