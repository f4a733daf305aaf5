// What a user has asked for, and the one line that says why it did not work.

import { at } from "./dom.js";

export function fail(error) {
  at("problem").textContent = error.message;
  at("problem").hidden = false;
}

export function clear() {
  at("problem").hidden = true;
}

export async function attempt(work, button) {
  clear();
  if (button) button.disabled = true;
  try { await work(); } catch (error) { fail(error); } finally { if (button) button.disabled = false; }
}
