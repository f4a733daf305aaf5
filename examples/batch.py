"""Splits a budget over many prompts: the whole batch is one linear program.

Start the service with ``routoo serve``, then:

    python examples/batch.py

The service is expected at 127.0.0.1:50051; ROUTOO_ADDRESS names another address.
"""

from __future__ import annotations

import os
import sys
from collections import Counter

from routoo.client import DEFAULT_ADDRESS, RouterClient, RouterError, make_request

PROMPTS = [
    "What is the capital of France?",
    "Translate 'good morning' into Spanish.",
    "Prove that there are infinitely many primes.",
    "A train leaves at 3 pm at 80 km/h, another at 4 pm at 120 km/h. When do they meet?",
    "Which amendment to the US constitution limits the president to two terms?",
    "Derive the gradient of the softmax cross-entropy loss.",
]


def main() -> int:
    """Decides the prompts without a tight budget, then with half of what that costs."""
    address = os.environ.get("ROUTOO_ADDRESS", DEFAULT_ADDRESS)
    # One prompt has a constraint of its own; the batch keeps it.
    requests = [*PROMPTS[:-1], make_request(PROMPTS[-1], min_score=0.3)]
    with RouterClient(address, timeout_s=30) as router:
        try:
            free = router.route_many(requests, budget_usd=1.0)
            budget_usd = free.total_predicted_cost_usd / 2
            halved = router.route_many(requests, budget_usd=budget_usd)
        except RouterError as error:
            print(f"no decision: {error}", file=sys.stderr)
            return 1
    for name, reply in (("all the money", free), ("half the money", halved)):
        models = Counter(decision.model for decision in reply.responses)
        print(
            f"{name}: ${reply.total_predicted_cost_usd:.5f},"
            f" mean score {reply.mean_predicted_score:.3f}, {dict(models)}"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
