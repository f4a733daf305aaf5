"""The metrics pages of several workers are merged into one."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, generate_latest

from routoo.telemetry.merged import MergedMetrics, Pages


def page(answered: int, waiting: int, price: float, *, serving: bool = True) -> str:
    registry = CollectorRegistry()
    counter = Counter("routoo_requests", "Calls.", ("code",), registry=registry)
    counter.labels("OK").inc(answered)
    if answered > 1:
        counter.labels("INTERNAL").inc()
    times = Histogram("routoo_seconds", "Times.", buckets=(1.0, 2.0), registry=registry)
    for _ in range(answered):
        times.observe(1.5)
    Gauge("routoo_queue_depth", "Waiting.", registry=registry).set(waiting)
    Gauge("routoo_shadow_price", "Price.", registry=registry).set(price)
    Gauge("routoo_serving", "1 while.", registry=registry).set(serving)
    Info("routoo_build", "Versions.", registry=registry).info({"version": "1"})
    return generate_latest(registry).decode()


def together(*pages: str) -> CollectorRegistry:
    registry = CollectorRegistry()
    registry.register(MergedMetrics(lambda: Pages(list(pages), len(pages)), 3, lambda: 7))
    return registry


def test_counters_and_histograms_add_up_and_gauges_say_what_they_mean() -> None:
    read = together(page(3, 5, 10.0), page(1, 2, 12.0, serving=False)).get_sample_value
    assert read("routoo_requests_total", {"code": "OK"}) == 4
    assert read("routoo_requests_total", {"code": "INTERNAL"}) == 1
    assert read("routoo_seconds_bucket", {"le": "1.0"}) == 0
    assert read("routoo_seconds_bucket", {"le": "+Inf"}) == 4
    assert read("routoo_seconds_sum") == 6
    assert read("routoo_queue_depth") == 7
    assert read("routoo_shadow_price") == 12
    assert read("routoo_serving") == 0
    assert read("routoo_build_info", {"version": "1"}) == 1
    assert (read("routoo_workers"), read("routoo_workers_up")) == (3, 2)
    assert read("routoo_worker_restarts_total") == 7


def test_a_page_comes_out_as_it_went_in() -> None:
    text = page(3, 5, 10.0)
    lines = generate_latest(together(text)).decode().splitlines()
    values = [line for line in text.splitlines() if not line.startswith("#")]
    assert sorted(line for line in lines if line in values) == sorted(values)
