// Figures as people read them.

export function usd(value) {
  if (!value) return "$0";
  const size = Math.abs(value);
  if (size >= 1000) return `$${Math.round(value).toLocaleString("en")}`;
  if (size >= 1) return `$${value.toFixed(2)}`;
  const digits = size < 1e-4 ? 2 : 3;
  return `$${Number(value.toPrecision(digits)).toFixed(Math.max(2, digits - 1 - Math.floor(Math.log10(size))))}`;
}

export const score = (value) => value.toFixed(3);

export function time(ms) {
  if (ms < 1000) return `${Math.round(ms)} ms`;
  const seconds = ms / 1000;
  return seconds < 100 ? `${seconds.toFixed(1)} s` : `${Math.round(seconds / 60)} min`;
}

export function share(part) {
  const percent = part * 100;
  return `${percent > 0 && percent < 10 ? percent.toFixed(1) : Math.round(percent)} %`;
}

export const whole = (value) => Math.round(Number(value)).toLocaleString("en");

export const words = (name) => name.replace(/^[A-Z]+_(?=[A-Z])/, "").replaceAll("_", " ").toLowerCase();

// The middle 90 of 100 of a normal distribution, within the scores that there are.
export function interval(mean, std) {
  return std === undefined ? null : [Math.max(0, mean - 1.645 * std), Math.min(1, mean + 1.645 * std)];
}

export function scoreText(mean, std) {
  const range = interval(mean, std);
  return range ? `${score(mean)} (${range.map((one) => one.toFixed(2)).join(" to ")})` : score(mean);
}

export const clock = (text) => new Date(text).toLocaleTimeString("en-GB");
