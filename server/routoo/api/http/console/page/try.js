// One prompt or conversation, decided: the choice, and why the other models were not chosen.

import { attempt } from "./attempt.js";
import { at, figures, fill, make, options, table } from "./dom.js";
import { interval, score, scoreText, share, time, usd, whole, words } from "./format.js";
import { post } from "./service.js";

const EXAMPLE = JSON.stringify([
  { role: "system", content: "You are a careful editor." },
  { role: "user", content: "Make this sentence shorter: ..." },
], null, 2);

function parsed(text, what) {
  try { return JSON.parse(text); } catch (error) { throw new Error(`${what}: not JSON: ${error.message}`); }
}

// Converts messages of the chat API: parts of text are joined, pictures need a model that sees.
function conversation(value, needs) {
  const list = Array.isArray(value) ? value : value?.messages;
  if (!Array.isArray(list)) throw new Error("conversation: send a JSON list of messages, each with role and content");
  return list.map((one) => {
    let content = one.content ?? "";
    if (Array.isArray(content)) {
      if (content.some((part) => /image/.test(part.type))) needs.add("vision");
      content = content.map((part) => part.text ?? "").join("\n");
    }
    return { role: String(one.role ?? "user"), content: String(content) };
  });
}

export function requestOf(form) {
  const value = (name) => form.elements[name].value.trim();
  const request = { explain: true }, needs = new Set();
  let tools = value("tools") ? parsed(value("tools"), "tools") : [];
  if (value("kind") === "messages") {
    const told = parsed(form.elements.text.value, "conversation");
    request.messages = conversation(told, needs);
    if (!tools.length && Array.isArray(told.tools)) tools = told.tools;
  } else request.prompt = form.elements.text.value;
  if (!Array.isArray(tools)) throw new Error("tools: send a JSON list");
  if (tools.length) {
    const lines = tools.map((one) => one.function ?? one).map((one) => `${one.name}: ${one.description ?? ""}`);
    request.messages ??= [{ role: "user", content: request.prompt }];
    delete request.prompt;
    request.messages.unshift({ role: "tools", content: lines.join("\n") });
    needs.add("tools");
  }
  for (const name of ["max_cost_usd", "min_score", "max_latency_ms", "max_output_tokens"]) {
    if (value(name)) request[name] = Number(value(name));
  }
  for (const name of ["task", "policy", "tenant"]) if (value(name)) request[name] = value(name);
  const models = [...form.elements.allowed_models.selectedOptions].map((one) => one.value);
  if (models.length) request.allowed_models = models;
  if (needs.size) request.required_capabilities = [...needs];
  return request;
}

// Why a model was not chosen: a constraint, a better and cheaper one, or the price of money.
function whyNot(one, chosen, all, price) {
  if (one === chosen) return "chosen";
  if (!one.eligible) return `left out by ${words(one.removed_by)}`;
  const better = all.find((other) => other !== one && other.eligible
    && other.predicted_score >= one.predicted_score && other.predicted_cost_usd <= one.predicted_cost_usd
    && (other.predicted_score > one.predicted_score || other.predicted_cost_usd < one.predicted_cost_usd));
  if (better) return `dominated: ${better.model} is no worse and costs no more`;
  const more = one.predicted_cost_usd - chosen.predicted_cost_usd;
  const gain = one.predicted_score - chosen.predicted_score;
  if (gain > 0) return `price: ${usd(more)} more for ${score(gain)} more score, which has to be ${score(more * price)}`;
  return `price: saves ${usd(-more)} and loses ${score(-gain)} score, ${score(-more * price)} would be fair`;
}

function spread(one) {
  const range = interval(one.predicted_score, one.score_std);
  const [low, high] = range ?? [one.predicted_score, one.predicted_score];
  return make("span", { class: "range" }, scoreText(one.predicted_score, one.score_std), make("span", { class: "interval", "aria-hidden": "true" },
    make("i", { "--low-end": low, "--spread": high - low }), make("b", { "--at": one.predicted_score })));
}

function show(reply, real) {
  const chosenName = (one) => one.model === reply.model && (one.arm ?? "") === (reply.arm?.name ?? "");
  const chosen = reply.candidates.find(chosenName) ?? reply.candidates[0];
  const facts = [
    ["Score", score(reply.predicted_score), reply.score_std === undefined ? "" : `90 % between ${interval(reply.predicted_score, reply.score_std).map((one) => one.toFixed(2)).join(" and ")}`],
    ["Cost", usd(reply.predicted_cost_usd), `${whole(reply.input_tokens)} tokens in, ${whole(reply.predicted_output_tokens)} out`],
    ["Time to the last token", time(reply.predicted_latency_ms)],
    ["Task", reply.task ? words(reply.task) : "not told", reply.task ? `sure to ${share(reply.task_confidence ?? 1)}; ${share(reply.ood ?? 0)} unlike the prompts that are known` : ""],
    ["Price of money", `${reply.shadow_price.toPrecision(3)} score per $`],
    ["Decided in", `${(Number(reply.timing.total_ns) / 1e6).toFixed(1)} ms`],
  ];
  const list = make("dl", { class: "figures" });
  figures(list, facts);
  const candidates = make("table");
  table(candidates, [
    ["Model", (one) => (one.arm ? `${one.model}@${one.arm}` : one.model)],
    ["Score", spread],
    ["Cost", (one) => usd(one.predicted_cost_usd), true],
    ["Time", (one) => time(one.predicted_latency_ms), true],
    ["Tokens", (one) => whole(one.predicted_output_tokens), true],
    ["Why, or why not", (one) => whyNot(one, chosen, reply.candidates, reply.shadow_price)],
  ], reply.candidates, { rowClass: (one) => (one === chosen ? "chosen" : one.eligible ? "" : "out") });
  const binding = reply.reason.binding_constraints;
  fill(at("try-result"),
    make("p", { class: "headline" }, reply.arm ? `${reply.model}@${reply.arm.name}` : reply.model),
    make("p", {}, `Chosen by ${words(reply.reason.rule)}: ${reply.reason.text}.`,
      binding.length ? ` Bound by ${binding.map(words).join(", ")}.` : ""),
    list,
    reply.unexplored_model && make("p", { class: "hint" }, `Drawn to see how it does (${share(reply.propensity)}); the policy would have taken ${reply.unexplored_model}.`),
    reply.experiment_arm && make("p", { class: "hint" }, `Decided by the arm ${reply.experiment_arm} of an experiment.`),
    reply.degraded && make("p", { class: "bad" }, "A component has failed; the decision was made without it."),
    reply.truncated && make("p", { class: "hint" }, "The prompt was longer than the predictor reads; its middle was cut out."),
    reply.arm && make("details", {}, make("summary", {}, "How to ask it"), make("pre", { tabindex: "0", "aria-label": "The arm" }, JSON.stringify(reply.arm, null, 2))),
    reply.max_output_tokens && make("p", {}, `Send ${whole(reply.max_output_tokens)} tokens as the longest answer, so that the cost limit holds.`),
    make("p", {}, reply.fallbacks.length ? `Where it fails, ask ${reply.fallbacks.map((one) => one.model + (one.arm ? `@${one.arm.name}` : "")).join(", then ")}.` : "No model is left to fall back to."),
    real && make("p", {}, "Decision ", make("code", {}, reply.decision_id), " ",
      make("button", { type: "button", class: "plain", onclick: () => { at("grade-id").value = reply.decision_id; location.hash = "grade"; } }, "Grade it")),
    make("div", { class: "scroll", role: "region", "aria-label": "Candidates", tabindex: "0" }, candidates));
}

export function startTry({ info, pool }) {
  const form = at("try-form");
  options(at("try-task"), info.tasks ?? [], "recognised");
  options(at("try-policy"), info.policies, "the one in force");
  options(at("try-models"), pool.models.map((one) => one.name));
  const texts = { prompt: at("try-text").value, messages: EXAMPLE };
  let kind = "prompt";
  for (const radio of form.elements.kind) {
    radio.addEventListener("change", () => {
      texts[kind] = at("try-text").value;
      kind = form.elements.kind.value;
      at("try-text").value = texts[kind];
      at("try-text-label").textContent = kind === "prompt" ? "Prompt" : "Messages, as a JSON list";
    });
  }
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    attempt(async () => {
      fill(at("try-result"));
      const request = requestOf(form), real = form.elements.real.checked;
      const reply = await post(real ? "/v1/route" : "/v1/decisions/try", request);
      show(reply, real);
    }, form.querySelector("[type=submit]"));
  });
  return {};
}
