"""Pages of what a running service tells: its metrics, HTTP doors and lines of the decision log.

A service with everything on is started in this process, on the small models of the tests, and
asked a little.
"""

from __future__ import annotations

import ast
import asyncio
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import httpx
import orjson

from reference.text import code, fenced, page, table

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT: Final = Path(__file__).resolve().parents[3]
_NAMES: Final = ("routoo_", "gen_ai_")
_KINDS: Final = {"Counter": "counter", "Gauge": "gauge", "Histogram": "histogram"}
_LOG_WORDS: Final = {
    "setup": "What many decisions have in common; first in each file.",
    "correction": "The factors of lengths and times; once, before the first use.",
    "batch": "The constraints of a `RouteBatch`; before its decisions.",
    "decision": "One decision: everything that it was made from.",
    "outcome": "A report of what happened, and of the usage that was billed.",
    "escalation": "An `Escalate`.",
    "capped": "A report above what its request could have cost, with both costs.",
    "failure": "A request through Envoy that a fault of the service has left undecided.",
}


@dataclass(frozen=True, slots=True)
class Told:
    """Answers of a running service.

    Attributes:
        metrics: by name: kind, help and labels.
        openapi: the description of its HTTP front.
        lines: of its decision log.
    """

    metrics: dict[str, tuple[str, str, tuple[str, ...]]]
    openapi: dict[str, Any]
    lines: list[dict[str, Any]]


def ask() -> Told:
    """Starts a service, asks it, and stops it."""
    if str(ROOT / "tests") not in sys.path:
        sys.path.append(str(ROOT / "tests"))
    with tempfile.TemporaryDirectory() as folder:
        return asyncio.run(_ask(Path(folder)))


def metrics_page(told: Told) -> str:
    """Returns the page of all metrics."""
    rows = [
        [code(name), kind, ", ".join(map(code, labels)), words]
        for name, (kind, words, labels) in sorted(told.metrics.items())
    ]
    return page(
        "Metrics",
        "Made of the metrics of a running service. A counter's name ends in `_total` on the page"
        " for Prometheus, a histogram's in `_bucket`, `_sum` and `_count`."
        " [Observability](../how-to/observability.md#metrics) says which to watch.",
        table(["metric", "kind", "labels", ""], rows),
    )


def doors_page(told: Told) -> str:
    """Returns the page of the HTTP doors."""
    rows = []
    for path, operations in told.openapi["paths"].items():
        for method, operation in operations.items():
            words = operation.get("summary", "")
            rows.append([code(f"{method.upper()} {path}"), words])
    return page(
        "HTTP doors",
        "Made of the description that the service serves itself, at `/openapi.json`; `/docs`"
        " shows it to people. [HTTP](http.md) explains the calls, [the messages](api.md) have"
        " their fields, and [the doors for clients of OpenAI and Anthropic](../how-to/proxy.md)"
        " have a page of their own.",
        table(["door", ""], rows),
    )


def log_page(told: Told) -> str:
    """Returns the page of the lines of the decision log."""
    parts = [
        (
            "One JSON object per line. The fields are explained under"
            " [the decision log](../how-to/observability.md#the-decision-log). The lines here are"
            " those of a small service that was asked when this page was made."
        ),
        table(["kind", ""], [[code(kind), words] for kind, words in _LOG_WORDS.items()]),
    ]
    seen: dict[str, dict[str, Any]] = {}
    for line in told.lines:
        seen.setdefault(line["kind"], line)
    for kind in _LOG_WORDS:
        if kind in seen:
            text = orjson.dumps(seen[kind], option=orjson.OPT_INDENT_2).decode()
            parts += [f"## {kind}", fenced(text, "json")]
    return page("Lines of the decision log", *parts)


async def _ask(folder: Path) -> Told:
    from routoo.v1 import batch_pb2, outcome_pb2, route_pb2  # noqa: PLC0415 - after the path
    from support.tiny_service import serving_all  # noqa: PLC0415

    async with serving_all(folder, http={"listen": "127.0.0.1:0"}) as running:
        await running.stub.RouteBatch(
            batch_pb2.RouteBatchRequest(
                requests=[route_pb2.RouteRequest(prompt="easy")], budget_usd=0.5
            )
        )
        reply = await running.route("hard")
        await running.stub.Escalate(outcome_pb2.EscalateRequest(decision_id=reply.decision_id))
        metrics = dict(_written()) | _collected(running.service.metrics.registry)
        async with httpx.AsyncClient(trust_env=False) as client:
            described = await client.get(f"http://{running.service.http_address}/openapi.json")
    lines = [orjson.loads(line) for line in (folder / "log").read_bytes().splitlines()]
    return Told(metrics, described.json(), lines)


def _collected(registry: Any) -> dict[str, tuple[str, str, tuple[str, ...]]]:
    declared = {
        getattr(one, "_name", ""): tuple(getattr(one, "_labelnames", ()))
        for one in registry._collector_to_names  # noqa: SLF001 - it has no other list of them
    }
    found = {}
    for family in registry.collect():
        labels = declared.get(family.name) or tuple(
            dict.fromkeys(
                name for sample in family.samples for name in sample.labels if name != "le"
            )
        )
        if family.name.startswith(_NAMES):
            found[family.name] = (family.type, family.documentation, labels)
    return found


def _written() -> Iterator[tuple[str, tuple[str, str, tuple[str, ...]]]]:
    """Yields the metrics whose name stands in the source: those of several workers, above all."""
    for path in sorted((ROOT / "server" / "routoo").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            name = getattr(getattr(node, "func", None), "id", "").removesuffix("MetricFamily")
            if isinstance(node, ast.Call) and name in _KINDS and len(node.args) > 1:
                texts = [one.value for one in node.args[:2] if isinstance(one, ast.Constant)]
                if len(texts) == 2 and str(texts[0]).startswith(_NAMES):
                    yield str(texts[0]), (_KINDS[name], str(texts[1]), ())
