"""A classifier for LiteLLM's complexity router that asks Routoo which tier a request belongs to.

    python examples/litellm_classifier.py "Prove that sqrt(2) is irrational"

Each tier has one model, under the name that Routoo's pool has for it. In the settings of a LiteLLM
proxy, name the instance below in the section ``complexity_router_config`` of the model "auto":

    model_name: auto
    litellm_params:
      model: auto_router/complexity_router
      complexity_router_config:
        classifier_type: custom
        classifier_plugin: litellm_classifier.classifier
        fallback_tier: cheap
        tier_definitions:
          - {name: cheap, description: what the cheap model answers well enough}
          - {name: strong, description: the rest}
        tiers: {cheap: deepseek/deepseek-v4-flash, strong: google/gemini-3.5-flash}

LiteLLM tells a classifier nothing by which the answer could be reported, so budgets count what the
decisions were expected to cost; ``litellm_router.py`` reports true costs. Where Routoo does not
answer, the classifier declines, and LiteLLM takes ``fallback_tier``.

The completions here are canned (``mock_response``), so that this runs without a key. Start the
service with ``routoo serve``; ROUTOO_ADDRESS names another address than 127.0.0.1:50051.
"""

from __future__ import annotations

import asyncio
import os
import sys
from typing import TYPE_CHECKING, Any

os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")  # nothing is fetched at import

from litellm import Router

from routoo.client import DEFAULT_ADDRESS, AsyncRouterClient, RouterError

if TYPE_CHECKING:
    from litellm.types.router import RoutingContext

TIERS = {"cheap": "deepseek/deepseek-v4-flash", "strong": "google/gemini-3.5-flash"}
"""The model of each tier, by its name in Routoo's pool."""


class RoutooClassifier:
    """Names the tier of a request; one instance for one LiteLLM router.

    Args:
        tiers: the model of each tier, by its name in Routoo's pool.
        address: of Routoo's gRPC door.
    """

    def __init__(self, tiers: dict[str, str], address: str) -> None:
        self._tier_of = {model: tier for tier, model in tiers.items()}
        self._address = address
        self._routoo: AsyncRouterClient | None = None

    async def classify(self, context: RoutingContext) -> str | None:
        """Returns the tier of a request, or None to decline; LiteLLM calls it."""
        if self._routoo is None:  # LiteLLM makes the instance before its event loop runs
            self._routoo = AsyncRouterClient(self._address, timeout_s=2)
        messages = [
            {"role": str(one.get("role", "user")), "content": _text(one.get("content"))}
            for one in context.structured_messages
        ]
        try:
            decision = await self._routoo.route(messages, allowed_models=list(self._tier_of))
        except RouterError as error:
            print(f"no decision ({error})", file=sys.stderr)
            return None
        return self._tier_of[decision.model]

    async def close(self) -> None:
        """Closes the connection."""
        if self._routoo is not None:
            await self._routoo.close()


def _text(content: object) -> str:
    """Returns the text of a message, whose content may be a list of parts."""
    if isinstance(content, list):
        return "\n".join(str(part["text"]) for part in content if part.get("type") == "text")
    return str(content or "")


classifier = RoutooClassifier(TIERS, os.environ.get("ROUTOO_ADDRESS", DEFAULT_ADDRESS))
"""The instance that the settings of a LiteLLM proxy name."""


def models() -> list[dict[str, Any]]:
    """Returns "auto", and a canned deployment a tier; a real one has its provider's key instead."""
    canned = [
        {
            "model_name": name,
            "litellm_params": {
                "model": f"openai/{name}",
                "api_key": "none",
                "mock_response": f"an answer of {name}",
            },
        }
        for name in TIERS.values()
    ]
    auto = {
        "classifier_type": "custom",
        "classifier_plugin": classifier,
        "fallback_tier": "cheap",
        "tier_definitions": [{"name": tier, "description": tier} for tier in TIERS],
        "tiers": TIERS,
    }
    params = {"model": "auto_router/complexity_router", "complexity_router_config": auto}
    return [*canned, {"model_name": "auto", "litellm_params": params}]


async def main(prompts: list[str]) -> int:
    """Asks "auto" each prompt."""
    router = Router(model_list=models(), num_retries=0)
    for prompt in prompts:
        answer = await router.acompletion(
            model="auto", messages=[{"role": "user", "content": prompt}]
        )
        print(f"{prompt}: {answer.choices[0].message.content}")
    await classifier.close()
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main(sys.argv[1:] or ["Prove that sqrt(2) is irrational"])))
