// Two policies on the same requests.

import { attempt } from "./attempt.js";
import { at, bar, fill, make, options, table } from "./dom.js";
import { score, share, usd, whole } from "./format.js";
import { post } from "./service.js";

const MOST_PROMPTS = 200;

function show(told) {
  const [one, two] = [told.side, told.other_side];
  const asked = Math.max(one.totals.decisions + one.totals.refused, 1);
  const names = [...new Set([...Object.keys(one.totals.models), ...Object.keys(two.totals.models)])];
  const part = (side, name) => (side.totals.models[name] ?? 0) / Math.max(side.totals.decisions, 1);
  const sums = make("table"), shares = make("table"), list = make("table");
  table(sums, [
    ["Policy", (side) => side.policy],
    ["Decisions", (side) => whole(side.totals.decisions), true],
    ["Mean score", (side) => score(side.totals.mean_predicted_score), true],
    ["Cost", (side) => usd(side.totals.predicted_cost_usd), true],
    ["Cost of a request", (side) => usd(side.totals.predicted_cost_usd / Math.max(side.totals.decisions, 1)), true],
  ], [one, two]);
  table(shares, [
    ["Model", (name) => name],
    [one.policy, (name) => share(part(one, name)), true], ["", (name) => bar(part(one, name))],
    [two.policy, (name) => share(part(two, name)), true], ["", (name) => bar(part(two, name))],
  ], names);
  table(list, [
    ["Request", (row) => row.prompt || row.decision_id],
    [one.policy, (row) => `${row.model}: ${score(row.predicted_score)}, ${usd(row.predicted_cost_usd)}`],
    [two.policy, (row) => `${row.other_model}: ${score(row.other_predicted_score)}, ${usd(row.other_predicted_cost_usd)}`],
  ], told.differences, { empty: "they choose the same" });
  const scroll = (label, found) => make("div", { class: "scroll", role: "region", "aria-label": label, tabindex: "0" }, found);
  fill(at("compare-result"),
    make("p", { class: "headline" }, `${share(told.same / asked)} the same`),
    make("p", {}, `${whole(told.same)} of ${whole(asked)} requests go to the same model by both.`),
    scroll("Sums", sums), make("h3", {}, "Who gets what"), scroll("Shares", shares),
    make("h3", {}, "Where they differ"), scroll("Differences", list));
}

export function startCompare({ info }) {
  const form = at("compare-form");
  options(at("compare-one"), info.policies);
  options(at("compare-other"), info.policies);
  at("compare-other").selectedIndex = Math.min(1, info.policies.length - 1);
  at("compare-hint").textContent = info.policies.length > 1 ? ""
    : "This service offers one policy; name more under policy.offered to compare them.";
  for (const radio of form.elements.source) {
    radio.addEventListener("change", () => { at("compare-pasted").hidden = form.elements.source.value !== "pasted"; });
  }
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    attempt(async () => {
      const [policy, other] = [at("compare-one").value, at("compare-other").value];
      const prompts = at("compare-prompts").value.split("\n").map((line) => line.trim()).filter(Boolean).slice(0, MOST_PROMPTS);
      fill(at("compare-result"));
      const onPasted = form.elements.source.value === "pasted";
      if (onPasted && !prompts.length) throw new Error("prompts: paste at least one");
      const requests = onPasted ? prompts.map((prompt) => ({ prompt })) : [];
      const told = await post("/v1/decisions/compare", { policy, other_policy: other, requests });
      if (told.same || told.differences.length) show(told);
      else fill(at("compare-result"), make("p", {}, "No decisions were noted yet; send some requests while this page is open, and ask again."));
    }, form.querySelector("[type=submit]"));
  });
  return {};
}
