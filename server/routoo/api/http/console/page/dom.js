// Elements, without markup in strings: what a service tells is never read as HTML.

export const at = (id) => document.getElementById(id);

export function make(tag, props = {}, ...children) {
  const found = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (name.startsWith("on")) found.addEventListener(name.slice(2), value);
    else if (name.startsWith("--")) found.style.setProperty(name, value);
    else if (value === true) found.setAttribute(name, "");
    else if (value !== false && value !== undefined && value !== null) found.setAttribute(name, value);
  }
  found.append(...children.filter((one) => one !== null && one !== undefined));
  return found;
}

export const fill = (found, ...children) => found.replaceChildren(...children.filter((one) => one));

// A table: columns are [head, cell of a row, whether it is a number]; the first column heads its row.
export function table(found, columns, rows, { caption = "", rowClass = () => "", empty = "nothing yet" } = {}) {
  const head = make("tr", {}, ...columns.map(([name, , number]) =>
    name ? make("th", { scope: "col", class: number ? "number" : null }, name) : make("td")));
  const body = rows.map((row) => make("tr", { class: rowClass(row) || null },
    ...columns.map(([, cell, number], column) => make(column ? "td" : "th",
      column ? { class: number ? "number" : null } : { scope: "row" }, cell(row)))));
  if (!rows.length) body.push(make("tr", {}, make("td", { colspan: columns.length }, empty)));
  fill(found, caption && make("caption", {}, caption), make("thead", {}, head), make("tbody", {}, ...body));
}

export const figures = (found, pairs) => fill(found, ...pairs.map(([name, value, small]) =>
  make("div", {}, make("dt", {}, name), make("dd", {}, value, small ? make("small", {}, small) : null))));

export const bar = (part) =>
  make("span", { class: "bar", "aria-hidden": "true" }, make("i", { "--part": Math.max(0, Math.min(1, part)) }));

export function options(select, names, first) {
  const kept = select.value;
  const own = first === undefined ? [] : [make("option", { value: "" }, first)];
  select.replaceChildren(...own, ...names.map((name) => make("option", { value: name }, name)));
  if (kept && names.includes(kept)) select.value = kept;
}
