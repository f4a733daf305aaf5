"""LiteLLM's router with Routoo as its routing strategy: Routoo picks the model of "auto".

    python examples/litellm_router.py "Prove that sqrt(2) is irrational"

Each deployment behind "auto" names its model of Routoo's pool in ``model_info.id``. The strategy
asks Routoo which of them should answer; a callback reports what the answer cost, so that budgets
count true costs.

The completions here are canned (``mock_response``), so that this runs without a key. Start the
service with ``routoo serve``; ROUTOO_ADDRESS names another address than 127.0.0.1:50051. Without a
service the cheap deployment answers (``fallback_model``), and a line on stderr says so.
"""

from __future__ import annotations

import asyncio
import os
import sys
from typing import Any

os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")  # nothing is fetched at import

import litellm
from litellm import Router
from litellm.integrations.custom_logger import CustomLogger
from litellm.router import CustomRoutingStrategyBase

from routoo.client import DEFAULT_ADDRESS, AsyncRouterClient, Fallback

CHEAP, STRONG = "deepseek/deepseek-v4-flash", "google/gemini-3.5-flash"
DECISION_ID = "routoo_decision_id"
REPORT_WITHIN_S = 30.0


class RoutooStrategy(CustomRoutingStrategyBase):
    """Picks the deployment; one instance for one LiteLLM router."""

    def __init__(self, routoo: AsyncRouterClient, deployments: list[dict[str, Any]]) -> None:
        self._routoo = routoo
        self._by_id = {one["model_info"]["id"]: one for one in deployments}

    async def async_get_available_deployment(
        self,
        model: str,
        messages: list[dict[str, str]] | None = None,
        input: str | list[Any] | None = None,  # noqa: A002 - LiteLLM's name
        specific_deployment: bool | None = False,  # noqa: ARG002, FBT001, FBT002 - LiteLLM's, too
        request_kwargs: dict[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Returns the deployment that this request goes to; LiteLLM calls it."""
        prompt = messages or (input if isinstance(input, str) else str(input or ""))
        wanted = [key for key, one in self._by_id.items() if one["model_name"] == model]
        decision = await self._routoo.route(prompt, allowed_models=wanted)
        if request_kwargs is not None and decision.decision_id:
            request_kwargs.setdefault("metadata", {})[DECISION_ID] = decision.decision_id
        return self._by_id[decision.model]

    def get_available_deployment(self, *_: Any, **__: Any) -> dict[str, Any]:
        """Refuses LiteLLM's blocking calls, which this example does not use."""
        raise NotImplementedError("call the router with acompletion")


class OutcomeReporter(CustomLogger):
    """Reports what each routed completion cost.

    Attributes:
        reported: for each report, whether it was booked.
    """

    def __init__(self, routoo: AsyncRouterClient) -> None:
        super().__init__()
        self._routoo = routoo
        self.reported: asyncio.Queue[bool] = asyncio.Queue()

    async def async_log_success_event(
        self, kwargs: dict[str, Any], response_obj: Any, start_time: Any, end_time: Any
    ) -> None:
        """Reports an answer; LiteLLM calls it after each one."""
        metadata = (kwargs.get("litellm_params") or {}).get("metadata") or {}
        if DECISION_ID in metadata:
            booked = await self._routoo.report(
                metadata[DECISION_ID],
                input_tokens=response_obj.usage.prompt_tokens,
                output_tokens=response_obj.usage.completion_tokens,
                latency_ms=(end_time - start_time).total_seconds() * 1e3,
            )
            self.reported.put_nowait(booked)


def deployment(name: str) -> dict[str, Any]:
    """Returns a canned deployment; a real one has its provider's ``model`` and key instead."""
    return {
        "model_name": "auto",
        "litellm_params": {
            "model": f"openai/{name}",
            "api_key": "none",
            "mock_response": f"an answer of {name}",
        },
        "model_info": {"id": name},
    }


async def main(prompts: list[str]) -> int:
    """Asks "auto" each prompt, and waits until the answers have been reported."""
    address = os.environ.get("ROUTOO_ADDRESS", DEFAULT_ADDRESS)

    def warn(fallback: Fallback) -> None:
        print(f"no decision ({fallback.error}); asking {fallback.model}", file=sys.stderr)

    deployments = [deployment(name) for name in (CHEAP, STRONG)]
    async with AsyncRouterClient(
        address, timeout_s=2, fallback_model=CHEAP, on_fallback=warn
    ) as routoo:
        reporter = OutcomeReporter(routoo)
        litellm.callbacks.append(reporter)
        router = Router(model_list=deployments, num_retries=0)
        router.register_plugin(RoutooStrategy(routoo, deployments))
        for prompt in prompts:
            answer = await router.acompletion(
                model="auto", messages=[{"role": "user", "content": prompt}]
            )
            print(f"{prompt}: {answer.choices[0].message.content}")
        async with asyncio.timeout(REPORT_WITHIN_S):
            for _ in range(len(prompts) - routoo.fallbacks):
                print("booked" if await reporter.reported.get() else "not booked")
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main(sys.argv[1:] or ["Prove that sqrt(2) is irrational"])))
