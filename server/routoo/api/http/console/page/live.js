// Decisions as they come, and the state of the service beside them.

import { fail } from "./attempt.js";
import { at, bar, figures, fill, make, table } from "./dom.js";
import { clock, scoreText, share, time, usd, whole, words } from "./format.js";
import { follow, get } from "./service.js";

const MOST = 100, STATE_MS = 5000, AGAIN_MS = 2000;

// The stream of decisions, which several views show; it connects again where it ends.
export class Feed {
  decisions = [];
  totals = null;
  told = null;
  #takers = [];

  listen(taker) {
    this.#takers.push(taker);
    if (this.totals) taker(this);
  }

  #take(told, isFirst) {
    this.decisions = [...told.decisions, ...(isFirst ? [] : this.decisions)].slice(0, MOST);
    this.totals = told.totals;
    this.told = told;
    for (const taker of this.#takers) taker(this);
  }

  async start() {
    const ended = new AbortController();
    addEventListener("pagehide", () => ended.abort());
    while (!ended.signal.aborted) {
      // The first event of a connection holds all: it may reach another worker, or a new start.
      let isFirst = true;
      try {
        await follow(`/v1/decisions/stream?limit=${MOST}`, ended.signal, (told) => {
          this.#take(told, isFirst);
          isFirst = false;
        });
      } catch (error) {
        if (ended.signal.aborted) return;
        if (error.status) {
          fail(error);
          if (error.status < 500) return;
        }
      }
      await new Promise((done) => { setTimeout(done, AGAIN_MS); });
    }
  }
}

const decisionColumns = [
  ["Model", (one) => one.model || "refused"],
  ["Time", (one) => clock(one.time)],
  ["Task", (one) => (one.task ? words(one.task) : "")],
  ["Score", (one) => make("span", { class: "range" }, one.model ? scoreText(one.predicted_score, one.score_std) : "")],
  ["Cost", (one) => (one.model ? usd(one.predicted_cost_usd) : ""), true],
  ["Takes", (one) => (one.model ? time(one.predicted_latency_ms) : ""), true],
  ["Why", (one) => make("span", { class: "list" }, one.refused || `${words(one.rule)}${one.degraded ? ", degraded" : ""}${one.joint ? ", jointly" : ""}`)],
  ["Decision", (one) => make("code", { class: "range" }, one.decision_id)],
];

function columnsOf(feed) {
  return [
    ...decisionColumns,
    ...(feed.decisions.some((one) => one.tenant) ? [["Tenant", (one) => one.tenant]] : []),
    ...(feed.told.has_prompts ? [["Prompt", (one) => make("span", { class: "list" }, one.prompt)]] : []),
  ];
}

function showTotals(feed) {
  const { decisions, refused, predicted_cost_usd: cost, best_model: best, best_cost_usd: bestCost } = feed.totals;
  const saved = bestCost - cost;
  figures(at("live-figures"), [
    ["Decisions", whole(decisions), "of the latest 500"],
    ["Refused", whole(refused)],
    ["Spend, as predicted", usd(cost)],
    ["Mean score", decisions ? feed.totals.mean_predicted_score.toFixed(3) : "none"],
    !decisions ? ["Saved", "nothing yet"] : best ? ["Saved", usd(saved), `${share(bestCost ? saved / bestCost : 0)} less than ${best} for all, at ${(feed.totals.best_mean_score - feed.totals.mean_predicted_score).toFixed(3)} less score`]
      : ["Saved", "not known", "no model could have had all"],
  ]);
  const rows = Object.entries(feed.totals.models).sort((a, b) => b[1] - a[1]);
  table(at("live-shares"), [
    ["Model", ([name]) => name], ["Decisions", ([, one]) => whole(one), true],
    ["Share", ([, one]) => share(one / decisions), true], ["", ([, one]) => bar(one / decisions)],
  ], rows);
  const refusals = feed.decisions.filter((one) => one.refused).slice(0, 8);
  fill(at("live-refusals"), refusals.length ? make("ul", {}, ...refusals.map((one) =>
    make("li", {}, `${clock(one.time)} ${one.refused}`))) : make("p", {}, "none"));
}

function showBudgets(told, info) {
  const price = make("p", {}, info.shadow_price
    ? `One more $ buys ${info.shadow_price.toPrecision(3)} score; set by ${(info.price_set_by ?? []).join(", ") || "no limit"}.`
    : "Money does not bind: one more $ buys nothing.");
  const list = make("table");
  table(list, [
    ["Budget", (one) => one.name + (one.tenant ? ` of ${one.tenant}` : "")],
    ["Used", (one) => usd(one.settled_usd + one.reserved_usd), true],
    ["Of", (one) => usd(one.limit_usd), true],
    ["", (one) => bar((one.settled_usd + one.reserved_usd) / one.limit_usd)],
    ["Price", (one) => (one.shadow_price ? one.shadow_price.toPrecision(3) : "0"), true],
  ], told.budgets, { empty: "no budgets are set" });
  fill(at("live-budgets"), price, make("div", { class: "scroll", role: "region", "aria-label": "Budgets", tabindex: "0" }, list));
}

const signed = (bounds, digits = 3) => (bounds ? `${bounds.low.toFixed(digits)} to ${bounds.high.toFixed(digits)}` : "not known yet");

function showState(pool, info) {
  const items = [];
  const failing = pool.models.filter((one) => one.health && one.health.state !== "HEALTH_STATE_CLOSED");
  items.push(failing.length ? `Failing: ${failing.map((one) => `${one.name} (${words(one.health.state)}, ${words(one.health.cause)})`).join(", ")}.`
    : "No model fails.");
  const limits = pool.models.flatMap((one) => one.limits).filter((one, at, all) => all.findIndex((other) => other.name === one.name) === at);
  for (const one of limits) items.push(`${one.name}: ${whole(one.used)} of ${whole(one.limit)} used, ${whole(one.refused)} refused.`);
  if (!limits.length) items.push("No limits of providers are set.");
  const drifting = pool.models.filter((one) => Math.abs(Math.log(one.length_correction?.factor ?? 1)) > .05
    || Math.abs(Math.log(one.latency_correction?.factor ?? 1)) > .05);
  for (const one of drifting) items.push(`${one.name}: answers are ${one.length_correction.factor.toFixed(2)} times as long and take ${one.latency_correction.factor.toFixed(2)} times as long as predicted, by ${whole(one.length_correction.reports)} reports.`);
  const told = Number(info.corrections?.length_reports ?? 0);
  if (!info.corrections?.enabled) items.push("Corrections are off.");
  else if (!drifting.length) items.push(told ? `No drift: ${whole(told)} reports confirm the predictions.` : "No reports yet, so no drift is known.");
  if (info.shadow) items.push(`Policy ${info.shadow.policy} beside it: would have chosen otherwise ${whole(info.shadow.disagreements)} of ${whole(info.shadow.decisions)} times, for ${usd(info.shadow.shadow_cost_usd)} in place of ${usd(info.shadow.cost_usd)}.`);
  const trial = info.experiment;
  if (trial) {
    items.push(`Experiment ${trial.name}: ${trial.candidate} decides ${share(trial.share)}${trial.in_shadow ? ", counted alone" : ""}; `
      + `${trial.verdict}${trial.reverted ? ", and taken back" : ""}, score ${signed(trial.score_difference)}, `
      + `cost of a request ${signed(trial.cost_difference_usd, 6)} $.`);
  }
  for (const one of info.guarantee ?? []) {
    // Of single tenants and tasks, what is broken alone.
    if (!one.broken && (one.tenant !== "*" || one.task !== "*")) continue;
    items.push(`Guarantee${one.tenant === "*" ? "" : ` of ${one.tenant}`}${one.task === "*" ? "" : `, ${words(one.task)}`}: `
      + `${one.broken ? "refuted, the reference answers" : "holds"} after ${whole(one.graded)} graded answers.`);
  }
  if (info.degraded) items.unshift("Degraded: a component has failed.");
  fill(at("live-state"), make("ul", {}, ...items.map((one) => make("li", {}, one))));
}

export function startLive({ feed }) {
  let shown = false, paused = false, timer = 0;
  const pause = at("live-pause");
  const showList = () => {
    const rows = feed.decisions.slice(0, 50);
    at("live-count").textContent = rows.length ? "" : "No decisions yet: they are noted while a page like this is open, and ten minutes on.";
    table(at("live-decisions"), columnsOf(feed), rows, { rowClass: (one) => (one.refused ? "out" : "") });
  };
  const showAll = () => {
    if (!feed.totals) return;
    at("live-note").textContent = `The figures are of the latest 500 decisions while somebody looks${feed.told.workers > 1
      ? `, of one of ${feed.told.workers} workers` : ""}; routoo spend tells those of a whole log. `
      + (feed.told.has_prompts ? "" : "Prompts are shown where decision_log.prompts is set.");
    showTotals(feed);
    if (!paused) showList();
  };
  const showServed = async () => {
    clearTimeout(timer);
    if (!shown) return;
    try {
      const [info, pool] = await Promise.all([get("/v1/info"), get("/v1/pool")]);
      showState(pool, info);
      // A caller without a tenant of its own may not see the budgets of all.
      showBudgets(await get("/v1/budgets").catch(() => ({ budgets: [] })), info);
    } catch (error) { fail(error); }
    clearTimeout(timer);
    timer = setTimeout(showServed, STATE_MS);
  };
  pause.addEventListener("click", () => {
    paused = !paused;
    pause.setAttribute("aria-pressed", paused);
    pause.textContent = paused ? "Go on" : "Pause";
    if (!paused) showAll();
  });
  feed.listen(() => { if (shown) showAll(); });
  return { show(on) { shown = on; if (on) { showAll(); showServed(); } } };
}
