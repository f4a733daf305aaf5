// The cost-quality curve as SVG, which follows the colours of the page; costs on a logarithmic axis.

const SPACE = "http://www.w3.org/2000/svg";
const WIDE = 640, HIGH = 380, LEFT = 52, RIGHT = 16, TOP = 14, BOTTOM = 44;

function draw(parent, tag, props, text) {
  const found = document.createElementNS(SPACE, tag);
  for (const [name, value] of Object.entries(props)) found.setAttribute(name, value);
  if (text !== undefined) found.textContent = text;
  parent.append(found);
  return found;
}

// Returns the powers of ten, and twice and five times those, that lie in a range.
function ticks(low, high) {
  const found = [];
  for (let power = Math.floor(Math.log10(low)); power <= Math.log10(high); power += 1) {
    for (const times of high / low > 300 ? [1] : [1, 2, 5]) {
      const value = times * 10 ** power;
      if (value >= low && value <= high) found.push(Number(value.toPrecision(1)));
    }
  }
  return found;
}

// Draws points {cost, score} with a line, models {cost, score, name}, and returns what moves the marker.
export function curveChart(found, points, models, inForce, label) {
  const all = [...points, ...models, ...(inForce ? [inForce] : [])].filter((one) => one.cost > 0);
  const costs = all.map((one) => one.cost), scores = all.map((one) => one.score);
  const low = Math.min(...costs) / 1.3, high = Math.max(...costs) * 1.3;
  const bottom = Math.floor(Math.min(...scores) * 20) / 20, top = Math.min(1, Math.ceil(Math.max(...scores) * 20 + .01) / 20);
  const x = (cost) => LEFT + (WIDE - LEFT - RIGHT) * Math.log(cost / low) / Math.log(high / low);
  const y = (score) => HIGH - BOTTOM - (HIGH - TOP - BOTTOM) * (score - bottom) / (top - bottom || 1);
  const svg = document.createElementNS(SPACE, "svg");
  svg.setAttribute("viewBox", `0 0 ${WIDE} ${HIGH}`);
  svg.setAttribute("role", "img");
  svg.setAttribute("aria-label", label);
  for (const cost of ticks(low, high)) {
    draw(svg, "line", { x1: x(cost), x2: x(cost), y1: TOP, y2: HIGH - BOTTOM, class: "grid-line" });
    draw(svg, "text", { x: x(cost), y: HIGH - BOTTOM + 16, "text-anchor": "middle" }, `$${cost}`);
  }
  const step = top - bottom > .3 ? .1 : .05;
  for (let score = bottom; score <= top + 1e-9; score += step) {
    draw(svg, "line", { x1: LEFT, x2: WIDE - RIGHT, y1: y(score), y2: y(score), class: "grid-line" });
    draw(svg, "text", { x: LEFT - 8, y: y(score) + 4, "text-anchor": "end" }, score.toFixed(2));
  }
  draw(svg, "text", { x: (LEFT + WIDE) / 2, y: HIGH - 8, "text-anchor": "middle" }, "mean cost of a request");
  draw(svg, "text", { x: 14, y: HIGH / 2, "text-anchor": "middle", transform: `rotate(-90 14 ${HIGH / 2})` }, "mean score");
  for (const one of models) {
    const ring = draw(svg, "circle", { cx: x(one.cost), cy: y(one.score), r: 4, class: "single" });
    draw(ring, "title", {}, `${one.name}: ${one.score.toFixed(3)} at $${one.cost.toPrecision(3)}`);
  }
  draw(svg, "polyline", { points: points.map((one) => `${x(one.cost)},${y(one.score)}`).join(" "), class: "line" });
  if (inForce) {
    const dot = draw(svg, "circle", { cx: x(inForce.cost), cy: y(inForce.score), r: 6, class: "force" });
    draw(dot, "title", {}, "where the policy in force works");
  }
  const here = draw(svg, "circle", { r: 8, class: "here" });
  found.replaceChildren(svg);
  return (cost, score) => { here.setAttribute("cx", x(cost)); here.setAttribute("cy", y(score)); };
}
