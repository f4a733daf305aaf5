"""Asks a running service which model should answer a prompt, and what the others would do.

Start the service with ``routoo serve``, then:

    python examples/route.py "Prove that sqrt(2) is irrational"

The service is expected at 127.0.0.1:50051; ROUTOO_ADDRESS names another address.
"""

from __future__ import annotations

import os
import sys

from routoo.client import DEFAULT_ADDRESS, RouterClient, RouterError


def main(prompt: str) -> int:
    """Routes one prompt twice: freely, and with at most half of that money."""
    address = os.environ.get("ROUTOO_ADDRESS", DEFAULT_ADDRESS)
    with RouterClient(address, timeout_s=5) as router:
        try:
            decision = router.route(prompt, explain=True)
            print(f"ask {decision.model}: {decision.reason.text}")
            for candidate in decision.candidates:
                print(
                    f"  {candidate.model}: score {candidate.predicted_score:.3f},"
                    f" ${candidate.predicted_cost_usd:.6f},"
                    f" {candidate.predicted_latency_ms / 1000:.1f} s"
                )
            cheaper = router.route(prompt, max_cost_usd=decision.predicted_cost_usd / 2)
            print(f"at half the cost, ask {cheaper.model}: score {cheaper.predicted_score:.3f}")
        except RouterError as error:
            print(f"no decision: {error}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else "Prove that sqrt(2) is irrational"))
