// Puts the views together: tabs, the facts on top, and what all views read of the service.

import { at } from "./dom.js";
import { clear, fail } from "./attempt.js";
import { askForToken, forgetToken, get } from "./service.js";
import { startCompare } from "./compare.js";
import { startCurve } from "./curve.js";
import { startGrade } from "./grade.js";
import { Feed, startLive } from "./live.js";
import { startPool } from "./pool.js";
import { startTry } from "./try.js";

const tabs = [...document.querySelectorAll("[role=tab]")];
const views = {};

// Shows a view. The address is left alone at the start: the focus would begin at what it names.
function select(name, { focus = false, told = true } = {}) {
  const chosen = tabs.find((one) => one.getAttribute("aria-controls") === name) || tabs[0];
  for (const tab of tabs) {
    const on = tab === chosen;
    tab.setAttribute("aria-selected", on);
    tab.tabIndex = on ? 0 : -1;
    at(tab.getAttribute("aria-controls")).hidden = !on;
  }
  if (focus) chosen.focus();
  const shown = chosen.getAttribute("aria-controls");
  if (told && location.hash !== `#${shown}`) history.replaceState(null, "", `#${shown}`);
  clear();
  for (const [name, view] of Object.entries(views)) view.show?.(name === shown);
}

function keys(event) {
  const here = tabs.indexOf(document.activeElement);
  const step = { ArrowRight: here + 1, ArrowLeft: here - 1, Home: 0, End: tabs.length - 1 }[event.key];
  if (step === undefined) return;
  event.preventDefault();
  select(tabs[(step + tabs.length) % tabs.length].getAttribute("aria-controls"), { focus: true });
}

async function start() {
  at("tabs").addEventListener("keydown", keys);
  for (const tab of tabs) tab.addEventListener("click", () => select(tab.getAttribute("aria-controls")));
  addEventListener("hashchange", () => select(location.hash.slice(1)));
  at("sign-in").addEventListener("click", async () => { if (await askForToken("")) location.reload(); });
  at("token-forget").addEventListener("click", forgetToken);
  const [info, pool] = await Promise.all([get("/v1/info"), get("/v1/pool?curve_points=60")]);
  const known = { info, pool, feed: new Feed() };
  at("facts").textContent = `version ${info.version}, ${pool.models.length} models, policy ${info.policy_version},`
    + ` predictor ${info.predictor_version}${info.degraded ? ", degraded" : ""}`;
  Object.assign(views, {
    try: startTry(known), curve: startCurve(known), live: startLive(known), pool: startPool(known),
    compare: startCompare(known), grade: startGrade(known),
  });
  known.feed.start();
  select(location.hash.slice(1), { told: false });
  document.documentElement.dataset.ready = "yes";
}

select(location.hash.slice(1), { told: false });
start().catch((error) => { at("facts").textContent = "no answer"; fail(error); });
