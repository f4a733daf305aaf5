"""Limits of providers in a whole service: calls, reports, reload, metrics and screens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc
import pytest
import yaml

from routoo.cli.output import reply_screens
from routoo.cli.output.render import TextTable
from routoo.errors import ConfigError
from routoo.server.assembly import load_components
from routoo.v1 import info_pb2, outcome_pb2
from support.tiny_pool import SPECS
from support.tiny_service import refusal, serving, tiny_settings

if TYPE_CHECKING:
    from pathlib import Path

    from routoo.config.settings import Settings
    from support.tiny_service import Running

ONLY_LARGE = {"allowed_models": ["large"]}


def limited_settings(folder: Path, providers: dict[str, Any] | None, **more: Any) -> Settings:
    """Makes settings of the tiny pool, all models of one provider, with limits."""
    models = [{**one, "provider": "acme"} for one in SPECS]
    values: dict[str, Any] = {"models": models}
    if providers is not None:
        values["providers"] = providers
    folder.joinpath("pool.yaml").write_text(yaml.safe_dump(values))
    return tiny_settings(folder, **more)


async def used(running: Running) -> dict[str, float]:
    """Returns what is used of each limit."""
    listed = await running.stub.ListModels(info_pb2.ListModelsRequest(), timeout=60)
    return {one.kind: one.used for one in listed.models[0].limits}


async def test_a_full_limit_refuses_names_itself_and_comes_back_with_the_report(
    tmp_path: Path,
) -> None:
    settings = limited_settings(tmp_path, {"acme": {"max_concurrent": 1}})
    async with serving(settings) as running:
        first = await running.route("hard", **ONLY_LARGE)
        code, text = await refusal(running.route("hard", **ONLY_LARGE))
        assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "max_concurrent[acme]" in text
        await running.stub.ReportOutcome(
            outcome_pb2.ReportOutcomeRequest(decision_id=first.decision_id, score=0.5), timeout=60
        )
        assert (await running.route("hard", **ONLY_LARGE)).model == "large"


async def test_a_reload_keeps_what_was_used_and_drops_no_limit_in_silence(tmp_path: Path) -> None:
    limits = {"acme": {"requests_per_minute": 3}}
    async with serving(limited_settings(tmp_path, limits)) as running:
        await running.route("hard")
        more = {"acme": {"requests_per_minute": 2, "max_concurrent": 5}}
        reload = running.service.reloader.start
        assert await reload(lambda: limited_settings(tmp_path, more)) == "switched"
        assert await used(running) == {"requests_per_minute": 1.0, "max_concurrent": 0.0}
        await running.route("hard")
        assert (await refusal(running.route("hard")))[0] is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert await reload(lambda: limited_settings(tmp_path, None)) == "refused"
        assert "max_concurrent of provider acme" in str(running.logs)
        assert await used(running) == {"requests_per_minute": 2.0, "max_concurrent": 1.0}
        gone = await reload(lambda: limited_settings(tmp_path, None), confirmed=True)
        assert gone == "switched"
        assert (await running.route("hard")).model


async def test_metrics_and_screens_show_limits_and_use(tmp_path: Path) -> None:
    limits = {"acme": {"requests_per_minute": 3}}
    never = {"prices": {"resolve_interval_s": 3600}}
    async with serving(limited_settings(tmp_path, limits, policy=never)) as running:
        await running.route("hard")
        read = running.service.metrics.registry.get_sample_value
        labels = {"scope": "acme", "kind": "requests_per_minute"}
        assert read("routoo_provider_limit_amount", labels) == 3.0
        assert read("routoo_provider_limit_used", labels) == 1.0
        assert read("routoo_provider_limit_price", labels) == 0.0
        for _ in range(2):
            await running.route("hard")
        await refusal(running.route("hard"))
        assert read("routoo_provider_limit_refused_total", labels) == 1.0
        assert read("routoo_no_eligible_model_total") == 0.0
        listed = await running.stub.ListModels(info_pb2.ListModelsRequest(), timeout=60)
    tables = [one for one in reply_screens.models(listed) if isinstance(one, TextTable)]
    assert tables[1].rows[0].cells == ["acme", "requests per minute", "3", "3", "0", "1"]


async def test_limits_and_budgets_hold_together(tmp_path: Path) -> None:
    budget = {"name": "all", "usd": 1, "per": "365d"}
    limits = {"acme": {"requests_per_minute": 2}}
    async with serving(limited_settings(tmp_path, limits, budgets=[budget])) as running:
        for _ in range(2):
            await running.route("hard")
        assert (await refusal(running.route("hard")))[0] is grpc.StatusCode.RESOURCE_EXHAUSTED
        (state,) = [state for state, _ in await running.service.engine.budgets()]
        assert state.granted == 2


def test_a_limit_that_workers_cannot_divide_is_refused(tmp_path: Path) -> None:
    limits = {"acme": {"max_concurrent": 5}}
    with pytest.raises(ConfigError, match=r"max_concurrent\[acme\] is 5, which 6 processes"):
        load_components(
            limited_settings(
                tmp_path, limits, workers=2, provider_limits={"replicas": 3}, listen="127.0.0.1:1"
            )
        )
