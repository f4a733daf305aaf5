// The cost-quality curve, and a point of it that two sliders move.

import { curveChart } from "./chart.js";
import { at, bar, figures, fill, make, table } from "./dom.js";
import { score, share, usd } from "./format.js";

const STEPS = 1000;

// The point of the curve at a cost: between two of its points, requests are split between both.
export function pointAt(curve, cost) {
  const next = curve.findIndex((one) => one.mean_cost_usd >= cost);
  if (next <= 0) return next ? curve.at(-1) : curve[0];
  const [a, b] = [curve[next - 1], curve[next]];
  const part = (cost - a.mean_cost_usd) / (b.mean_cost_usd - a.mean_cost_usd || 1);
  const mix = (x = 0, y = 0) => x + part * (y - x);
  const names = new Set([...Object.keys(a.shares), ...Object.keys(b.shares)]);
  return {
    mean_cost_usd: cost,
    mean_score: mix(a.mean_score, b.mean_score),
    shadow_price: (b.mean_score - a.mean_score) / (b.mean_cost_usd - a.mean_cost_usd || 1),
    shares: Object.fromEntries([...names].map((name) => [name, mix(a.shares[name], b.shares[name])])),
  };
}

// The lowest cost at which the curve has a score.
export function costOf(curve, wanted) {
  const next = curve.findIndex((one) => one.mean_score >= wanted);
  if (next <= 0) return (next ? curve.at(-1) : curve[0]).mean_cost_usd;
  const [a, b] = [curve[next - 1], curve[next]];
  return a.mean_cost_usd + (b.mean_cost_usd - a.mean_cost_usd) * (wanted - a.mean_score) / (b.mean_score - a.mean_score || 1);
}

// A preset stands by its name: its point moves with the prices of the pool, a number does not.
export const settingsOf = (point, preset = "") => (preset ? `policy:\n  name: ${preset}\n`
  : `policy:\n  name: lp\n  max_mean_cost_usd: ${Number(point.mean_cost_usd.toPrecision(4)).toFixed(10).replace(/0+$/, "")}\n`);

export const shareRows = (shares) => Object.entries(shares).filter(([, part]) => part > 0).sort((a, b) => b[1] - a[1]);

export const shareColumns = [["Model", ([name]) => name], ["Share", ([, part]) => share(part), true], ["", ([, part]) => bar(part)]];

export function startCurve({ pool }) {
  const curve = pool.curve, inForce = pool.operating_point;
  const low = Math.max(curve[0].mean_cost_usd, 1e-9), high = curve.at(-1).mean_cost_usd;
  const [worst, best] = [curve[0].mean_score, curve.at(-1).mean_score];
  const asPoint = (one) => ({ cost: one.mean_cost_usd, score: one.mean_score });
  const move = curveChart(at("curve-chart"), curve.map(asPoint),
    pool.models.map((one) => ({ cost: one.mean_predicted_cost_usd, score: one.mean_predicted_score, name: one.name })),
    inForce && asPoint(inForce),
    `Mean score by mean cost of a request: from ${score(worst)} at ${usd(low)} to ${score(best)} at ${usd(high)}. `
    + "Circles are single models, the filled one is where the policy in force works. The table below has the figures.");
  table(at("curve-table"), [
    ["Cost of a request", (one) => usd(one.mean_cost_usd), true],
    ["Mean score", (one) => score(one.mean_score), true],
    ["One more $ buys", (one) => one.shadow_price.toPrecision(3), true],
    ["Shares", (one) => shareRows(one.shares).map(([name, part]) => `${name} ${share(part)}`).join(", ")],
  ], curve);
  let here = curve[0], preset = "";
  const [budget, quality] = [at("curve-budget"), at("curve-quality")];
  const show = (point, name = "") => {
    here = point;
    preset = name;
    for (const button of at("curve-presets").children) button.setAttribute("aria-pressed", button.textContent === name);
    const cost = Math.max(point.mean_cost_usd, low);
    budget.value = Math.round(STEPS * Math.log(cost / low) / Math.log(high / low));
    quality.value = Math.round(STEPS * (point.mean_score - worst) / (best - worst || 1));
    budget.setAttribute("aria-valuetext", `${usd(point.mean_cost_usd)} a request`);
    quality.setAttribute("aria-valuetext", `mean score ${score(point.mean_score)}`);
    at("curve-budget-out").textContent = `${usd(point.mean_cost_usd)} a request`;
    at("curve-quality-out").textContent = `${score(point.mean_score)} mean score`;
    move(cost, point.mean_score);
    const month = Number(at("curve-requests").value) * point.mean_cost_usd;
    figures(at("curve-point"), [
      ["A month", usd(month)],
      ["One more $ buys", `${point.shadow_price.toPrecision(3)} score`, "the price of money there"],
      ["Of the best score", share(point.mean_score / best), `at ${share(point.mean_cost_usd / high)} of its cost`],
    ]);
    table(at("curve-shares"), shareColumns, shareRows(point.shares));
    at("curve-settings").textContent = settingsOf(point, name);
    at("curve-copied").textContent = "";
  };
  budget.addEventListener("input", () => show(pointAt(curve, low * (high / low) ** (budget.value / STEPS))));
  quality.addEventListener("input", () => show(pointAt(curve, costOf(curve, worst + (best - worst) * quality.value / STEPS))));
  at("curve-requests").addEventListener("input", () => show(here, preset));
  fill(at("curve-presets"), ...(pool.presets ?? []).map((one) => make("button", {
    type: "button", "aria-pressed": "false", onclick: () => show(pointAt(curve, one.mean_cost_usd), one.name),
  }, one.name)));
  at("curve-form").addEventListener("submit", (event) => event.preventDefault());
  at("curve-copy").addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(settingsOf(here, preset));
      at("curve-copied").textContent = "Copied.";
    } catch {
      getSelection().selectAllChildren(at("curve-settings"));
      at("curve-copied").textContent = "The browser allows no copying here; the settings are selected instead.";
    }
  });
  show(inForce?.mean_cost_usd ? pointAt(curve, inForce.mean_cost_usd) : curve[0]);
  return {};
}
