"""A fleet of simulated models behind an OpenAI-compatible API, and the prompts that it answers.

    python examples/loop/fleet.py --listen 127.0.0.1:8091

Each prompt has a right answer. A model gives it or not, as a file of outcomes says: JSON lines of
``{"prompt": ..., "answer": ..., "right": {"MODEL": true, ...}}``. Without ``--outcomes FILE`` the
outcomes are made up by a seed: the models differ in what they are good at, and not as the shipped
predictor believes. With ``--worse MODEL`` that model fails in silence: it answers, mostly wrongly.
"""

from __future__ import annotations

import argparse
import json
import random
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

SEED = 7
# The chance of a right answer by kind of prompt: sums, reversed words, and capitals of words.
SKILLS = {
    "deepseek/deepseek-v4-flash": {"sum": 0.95, "reverse": 0.35, "capitals": 0.95},
    "google/gemini-3.5-flash": {"sum": 0.60, "reverse": 0.95, "capitals": 0.60},
    "z-ai/glm-5": {"sum": 0.70, "reverse": 0.45, "capitals": 0.70},
}
WORDS = [
    "harbour",
    "lantern",
    "meadow",
    "copper",
    "violet",
    "thunder",
    "orchard",
    "pebble",
    "saddle",
    "marble",
    "cinder",
    "walnut",
]


def made_up(count: int, seed: int = SEED) -> list[dict]:
    """Makes prompts, their right answers, and which models know them."""
    rng = random.Random(seed)  # noqa: S311 - a simulation
    found = []
    for _ in range(count):
        kind = rng.choice(["sum", "reverse", "capitals"])
        words = " ".join(rng.sample(WORDS, rng.randint(2, 5)))
        first, second = rng.randint(100, 999), rng.randint(100, 999)
        prompt, answer = {
            "sum": (f"What is {first} plus {second}? Answer with the number only.", first + second),
            "reverse": (f"Write the letters of this text backwards: {words}", words[::-1]),
            "capitals": (f"Rewrite this text in capital letters: {words}", words.upper()),
        }[kind]
        right = {model: rng.random() < skill[kind] for model, skill in SKILLS.items()}
        found.append({"prompt": prompt, "answer": str(answer), "right": right})
    return found


def read(path: Path | None, count: int) -> list[dict]:
    """Reads the outcomes, or makes them up."""
    if path is None:
        return made_up(count)
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line]


class Fleet(ThreadingHTTPServer):
    """Answers as the outcomes say."""

    daemon_threads = True
    request_queue_size = 256

    def __init__(self, address: tuple[str, int], outcomes: list[dict], worse: str) -> None:
        super().__init__(address, Answer)
        self.known = {one["prompt"]: one for one in outcomes}
        self.worse = worse

    def answer(self, model: str, prompt: str) -> str:
        """Returns a model's answer to a prompt."""
        known = self.known.get(prompt)
        if known is None:
            return "I do not know."
        failed = model == self.worse and random.random() < 0.8  # noqa: S311 - a simulation
        is_right = known["right"].get(model, False) and not failed
        return known["answer"] if is_right else "something else"


class Answer(BaseHTTPRequestHandler):
    """One request of a chat completion."""

    protocol_version = "HTTP/1.1"
    server: Fleet

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        prompt = body["messages"][-1]["content"]
        text = self.server.answer(body["model"], prompt)
        reply = {
            "id": "chat",
            "object": "chat.completion",
            "created": 0,
            "model": body["model"],
            "choices": [
                {
                    "index": 0,
                    "message": {"role": "assistant", "content": text},
                    "finish_reason": "stop",
                }
            ],
            "usage": {
                "prompt_tokens": len(prompt) // 4,
                "completion_tokens": 1 + len(text) // 4,
                "total_tokens": 1 + len(prompt) // 4 + len(text) // 4,
            },
        }
        data = json.dumps(reply).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Says nothing of single requests."""


def main() -> None:
    """Serves until it is stopped."""
    parser = argparse.ArgumentParser(description="A fleet of simulated models.")
    parser.add_argument("--listen", default="127.0.0.1:8091", help="HOST:PORT")
    parser.add_argument("--outcomes", type=Path, help="JSON lines; without, they are made up")
    parser.add_argument("--worse", default="", help="a model that fails in silence")
    options = parser.parse_args()
    host, _, port = options.listen.rpartition(":")
    fleet = Fleet((host, int(port)), read(options.outcomes, 20_000), options.worse)
    print("fleet on {}:{}".format(*fleet.server_address), flush=True)
    fleet.serve_forever()


if __name__ == "__main__":
    main()
