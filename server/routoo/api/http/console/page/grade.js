// The score of an answer, reported for its decision.

import { attempt } from "./attempt.js";
import { at, make, table } from "./dom.js";
import { clock, score, words } from "./format.js";
import { post } from "./service.js";

const TELLS = {
  REPORT_RESULT_BOOKED: "Counted, and its cost is booked.",
  REPORT_RESULT_COUNTED: "Counted.",
  REPORT_RESULT_COUNTED_TOO_LATE_FOR_BUDGETS: "Counted; the budgets keep what they booked before.",
  REPORT_RESULT_UNKNOWN_DECISION: "Not counted: the service does not know this decision, or no longer.",
  REPORT_RESULT_REPORTED_BEFORE: "Not counted: this decision was reported or graded before, and that stays.",
};

export function startGrade({ feed }) {
  const graded = new Map();
  const slider = at("grade-score");
  slider.addEventListener("input", () => { at("grade-score-out").textContent = slider.value; });
  const show = () => table(at("grade-decisions"), [
    ["Model", (one) => one.model],
    ["Time", (one) => clock(one.time)],
    ["Task", (one) => (one.task ? words(one.task) : "")],
    ["Predicted", (one) => score(one.predicted_score), true],
    ["Graded", (one) => graded.get(one.decision_id) ?? "", true],
    ["Decision", (one) => make("button", { type: "button", class: "plain", "aria-label": `Grade ${one.decision_id}`,
      onclick: () => { at("grade-id").value = one.decision_id; at("grade-result").textContent = ""; slider.focus(); } }, one.decision_id)],
    ...(feed.told?.has_prompts ? [["Prompt", (one) => one.prompt]] : []),
  ], feed.decisions.filter((one) => one.model).slice(0, 30),
  { empty: "no decisions yet: they are noted while a page like this is open" });
  let shown = false;
  feed.listen(() => { if (shown && !at("grade-decisions").contains(document.activeElement)) show(); });
  at("grade-form").addEventListener("submit", (event) => {
    event.preventDefault();
    attempt(async () => {
      const report = { decision_id: at("grade-id").value.trim(), score: Number(slider.value) };
      for (const [id, name] of [["grade-input", "input_tokens"], ["grade-output", "output_tokens"]]) {
        if (at(id).value) report[name] = Number(at(id).value);
      }
      at("grade-result").textContent = "";
      const told = await post("/v1/outcomes", report);
      at("grade-result").textContent = TELLS[told.result] ?? `${told.accepted ? "Counted" : "Not counted"}: ${words(told.result)}.`;
      if (told.accepted) graded.set(report.decision_id, slider.value);
      show();
    }, event.target.querySelector("[type=submit]"));
  });
  return { show(on) { shown = on; if (on) show(); } };
}
