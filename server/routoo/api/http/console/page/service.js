// Calls of the service, with the token of this tab where it needs one.

import { at } from "./dom.js";

const KEY = "routoo.token";
let asking = null;

export class Problem extends Error {
  constructor(status, told) {
    super(told.field ? `${told.field}: ${told.detail}` : told.detail || `the service answered ${status}`);
    this.status = status;
    this.field = told.field || "";
  }
}

function headers(more = {}) {
  const token = sessionStorage.getItem(KEY);
  return token ? { ...more, authorization: `Bearer ${token}` } : more;
}

async function problemOf(reply) {
  let told = {};
  try { told = await reply.json(); } catch { /* a proxy before the service may answer with a page */ }
  return new Problem(reply.status, told);
}

// Asks for a token, once for all calls that wait for it.
export function askForToken(why) {
  at("sign-in").hidden = false;
  if (asking) return asking;
  const dialog = at("token-dialog");
  at("token-why").textContent = why;
  asking = new Promise((done) => {
    dialog.addEventListener("close", () => {
      asking = null;
      if (dialog.returnValue === "use" && at("token-text").value) {
        sessionStorage.setItem(KEY, at("token-text").value.trim());
        done(true);
      } else done(false);
      at("token-text").value = "";
      dialog.returnValue = "";
    }, { once: true });
  });
  dialog.showModal();
  at("token-text").focus();
  return asking;
}

async function asked(path, init, again = false) {
  const reply = await fetch(path, { ...init, headers: headers(init.headers) });
  if (reply.ok) {
    if (sessionStorage.getItem(KEY)) at("sign-in").hidden = false;
    return reply;
  }
  const problem = await problemOf(reply);
  if (reply.status === 401 && await askForToken(again ? problem.message : "")) return asked(path, init, true);
  throw problem;
}

export const get = async (path) => (await asked(path, {})).json();

export const post = async (path, value) => (await asked(path, {
  method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(value),
})).json();

// Reads server-sent events until the signal; the browser's own EventSource sends no token.
export async function follow(path, signal, take) {
  const reply = await asked(path, { signal });
  const reader = reply.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const events = (text + value).split("\n\n");
    text = events.pop();
    for (const event of events) {
      const data = event.split("\n").find((line) => line.startsWith("data: "));
      if (data) take(JSON.parse(data.slice(6)));
    }
  }
}

export function forgetToken() {
  sessionStorage.removeItem(KEY);
  location.reload();
}
