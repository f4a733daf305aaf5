// The models of the pool: prices, evidence, health.

import { fail } from "./attempt.js";
import { at, make, table } from "./dom.js";
import { score, share, time, usd, whole, words } from "./format.js";
import { get } from "./service.js";

const price = (value) => (value === undefined ? "" : `$${value}`);

const columns = [
  ["Model", (one) => one.name],
  ["Score", (one) => score(one.mean_predicted_score), true],
  ["Cost", (one) => usd(one.mean_predicted_cost_usd), true],
  ["Share", (one) => share(one.share), true],
  ["$ per 1M in", (one) => price(one.usd_per_1m_input_tokens), true],
  ["$ per 1M out", (one) => price(one.usd_per_1m_output_tokens), true],
  ["Prices", (one) => make("span", { title: one.prices?.source }, one.prices?.status ?? "")],
  ["Graded", (one) => (one.evidence === undefined ? "" : whole(one.evidence)), true],
  ["Published", (one) => (one.published_averages === undefined ? "" : whole(one.published_averages)), true],
  ["Health", (one) => {
    if (!one.health) return "not watched";
    const well = one.health.state === "HEALTH_STATE_CLOSED";
    return make("span", { class: well ? "good" : "bad" }, well ? "well" : `${words(one.health.state)}: ${words(one.health.cause)}`);
  }],
  ["First token", (one) => time(one.learned_times?.first_token_ms ?? one.time_to_first_token_ms), true],
  ["95 % within", (one) => (one.p95_latency_ms === undefined ? "" : time(one.p95_latency_ms)), true],
  ["Context", (one) => whole(one.context_window_tokens), true],
  ["Can", (one) => make("span", { class: "list" }, one.capabilities.join(", "))],
  ["Arm", (one) => (one.arm ? [one.arm.effort && `effort ${one.arm.effort}`, one.arm.service_tier, one.arm.known ? "known" : "by offset"].filter(Boolean).join(", ") : "")],
];

export function startPool({ pool: first }) {
  let pool = first;
  const filter = at("pool-filter");
  const show = () => {
    const word = filter.value.trim().toLowerCase();
    const found = pool.models.filter((one) => `${one.name} ${one.capabilities.join(" ")}`.toLowerCase().includes(word));
    at("pool-count").textContent = `${found.length} of ${pool.models.length} models`;
    table(at("pool-models"), columns, found, { empty: "no model has this in its name or capabilities" });
  };
  filter.addEventListener("input", show);
  show();
  return { show(on) { if (on) get("/v1/pool").then((told) => { pool = told; show(); }, fail); } };
}
