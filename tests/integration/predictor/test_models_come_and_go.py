"""A pool with one more model is served after a reload, when the predictor has a row of it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from support.artifacts.tiny_table_artifact import MODELS, SCORES, change_table
from support.tiny_pool import LARGE
from support.tiny_service import serving, table_settings
from support.watched import HANG_S

if TYPE_CHECKING:
    from pathlib import Path

    from routoo.config.settings import Settings
    from support.tiny_service import Running

EXTRA = {**LARGE, "name": "mine", "predictor_name": "tiny/extra"}


async def reload(running: Running, settings: Settings) -> str:
    async with asyncio.timeout(HANG_S):
        return await running.service.reloader.start(lambda: settings)


def figures(reply: Any) -> dict[str, tuple[float, ...]]:
    return {
        one.model: (one.predicted_score, one.predicted_output_tokens, one.predicted_cost_usd)
        for one in reply.candidates
    }


async def test_one_more_model_is_served_without_a_restart(tmp_path: Path) -> None:
    prompts = ("hello", "code", "a hard piece of math")
    async with serving(table_settings(tmp_path)) as running:
        before = [figures(await running.route(one, explain=True)) for one in prompts]
        assert await reload(running, table_settings(tmp_path, EXTRA)) == "switched"
        after = [figures(await running.route(one, explain=True)) for one in prompts]
        for old, new in zip(before, after, strict=True):
            assert set(new) == {*old, "mine"}
            assert {name: new[name] for name in old} == old
        reply = await running.route("math", allowed_models=["mine"])
        assert round(reply.predicted_score, 3) == 0.95
        # A pool without it again: decisions under way may still use its row.
        assert await reload(running, table_settings(tmp_path)) == "switched"
        assert [figures(await running.route(one, explain=True)) for one in prompts] == before


async def test_a_model_without_a_row_keeps_the_old_pool(tmp_path: Path) -> None:
    async with serving(table_settings(tmp_path)) as running:
        before = await running.route("code")
        unknown = {**EXTRA, "predictor_name": "huge"}
        assert await reload(running, table_settings(tmp_path, unknown)) == "refused"
        (line,) = [one for one in running.logs if one.get("outcome") == "refused"]
        assert "'huge'" in line["detail"]
        assert (await running.route("code")).policy_version == before.policy_version


async def test_a_row_that_was_estimated_again_is_served_after_a_reload(tmp_path: Path) -> None:
    settings = table_settings(tmp_path)
    async with serving(settings) as running:
        before = await running.route("code", explain=True)
        better = SCORES[: len(MODELS)].copy()
        better[0] = 0.97
        change_table(tmp_path / "predictor", score_mean=better)
        assert await reload(running, settings) == "switched"
        after = await running.route("code", explain=True)
        assert after.predictor_version != before.predictor_version
        changed = {
            name for name, values in figures(after).items() if values != figures(before)[name]
        }
        assert changed == {MODELS[0]}


async def test_a_row_of_a_model_that_is_not_in_the_pool_changes_nothing(tmp_path: Path) -> None:
    settings = table_settings(tmp_path)
    async with serving(settings) as running:
        before = await running.route("code", explain=True)
        change_table(tmp_path / "predictor", names=(*MODELS[:3], "newer"), aliases={})
        assert await reload(running, settings) == "switched"
        after = await running.route("code", explain=True)
        assert after.predictor_version == before.predictor_version
        assert figures(after) == figures(before)
