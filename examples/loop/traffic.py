"""Traffic for the loop: asks Routoo whom to ask, asks that model, grades, and reports the grade.

    python examples/loop/traffic.py --requests 4000

The grade is exact: 1 where the answer is the right one, else 0. It prints the mean score and cost.
"""

from __future__ import annotations

import argparse
import json
import random
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from pathlib import Path
from threading import local
from urllib.parse import urlsplit

from fleet import read

_connections = local()


def post(url: str, path: str, body: dict) -> dict:
    """Sends JSON on a connection that is kept, and returns the reply."""
    connections = _connections.__dict__
    if url not in connections:
        connections[url] = HTTPConnection(urlsplit(url).netloc, timeout=60)
    connection = connections[url]
    connection.request("POST", path, json.dumps(body), {"content-type": "application/json"})
    reply = connection.getresponse()
    data = json.loads(reply.read())
    if reply.status >= 300:
        raise SystemExit(f"{path}: {reply.status} {data}")
    return data


def ask(url: str, fleet: str, known: dict) -> tuple[float, float, str]:
    """Asks one prompt, grades and reports; returns the score, the predicted cost, the model."""
    decision = post(url, "/v1/route", {"prompt": known["prompt"]})
    message = {"role": "user", "content": known["prompt"]}
    body = {"model": decision["model"], "messages": [message]}
    reply = post(fleet, "/v1/chat/completions", body)
    score = float(reply["choices"][0]["message"]["content"] == known["answer"])
    usage = reply["usage"]
    outcome = {
        "decision_id": decision["decision_id"],
        "score": score,
        "input_tokens": usage["prompt_tokens"],
        "output_tokens": usage["completion_tokens"],
    }
    post(url, "/v1/outcomes", outcome)
    return score, decision["predicted_cost_usd"], decision["model"]


def main() -> None:
    """Sends the traffic."""
    parser = argparse.ArgumentParser(description="Traffic for the loop.")
    parser.add_argument("--url", default="http://127.0.0.1:8080", help="Routoo's HTTP front")
    parser.add_argument("--fleet", default="http://127.0.0.1:8091", help="the models")
    parser.add_argument("--requests", type=int, default=4000)
    parser.add_argument("--outcomes", type=Path, help="as the fleet's")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rng = random.Random(options.seed)  # noqa: S311 - a simulation
    asked = rng.choices(read(options.outcomes, 20_000), k=options.requests)
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda one: ask(options.url, options.fleet, one), asked))
    scores, costs, models = zip(*found, strict=True)
    shares = {one: models.count(one) / len(models) for one in sorted(set(models))}
    print(f"mean score {sum(scores) / len(scores):.3f}, mean cost ${sum(costs) / len(costs):.6f}")
    print(", ".join(f"{model} {share:.0%}" for model, share in shares.items()))


if __name__ == "__main__":
    main()
