"use strict";
// Each long table gets a search, a filter, sorting and pages. Without this script all rows stand there.
const ROWS = 50;
function made(name, parent, properties = {}) {
  const element = Object.assign(document.createElement(name), properties);
  parent.append(element);
  return element;
}
for (const pages of document.querySelectorAll(".pages")) {
  const [table, ...others] = pages.querySelectorAll("table");
  const rows = [...pages.querySelectorAll("tbody tr")];
  if (rows.length < 9) continue;
  const body = table.tBodies[0], heads = [...table.tHead.rows[0].cells];
  for (const other of others) other.parentElement.remove();
  let texts = null, order = rows.map((_, place) => place), first = 0, sorted = -1, down = false;
  const text = (place) => (texts ||= rows.map((row) => [...row.cells].map((cell) => cell.textContent).join(" ").toLowerCase()))[place];
  const tools = document.createElement("form");
  tools.className = "tools";
  tools.setAttribute("role", "group");
  tools.setAttribute("aria-label", pages.dataset.label);
  const words = made("input", made("label", tools, { textContent: "Search" }), { type: "search", autocomplete: "off" });
  const kinds = pages.dataset.kinds ? pages.dataset.kinds.split("|") : [];
  let choice = null;
  if (kinds.length) {
    choice = made("select", made("label", tools, { textContent: "Show" }));
    made("option", choice, { value: "", textContent: "everything" });
    for (const kind of kinds) made("option", choice, { value: kind, textContent: kind });
  }
  const back = made("button", tools, { type: "button", textContent: "Previous" });
  const on = made("button", tools, { type: "button", textContent: "Next" });
  const count = made("output", tools);
  count.setAttribute("aria-live", "polite");
  function chosen() {
    const wanted = words.value.toLowerCase().split(/\s+/).filter(Boolean);
    const kind = choice ? choice.value : "";
    if (!wanted.length && !kind) return order;
    return order.filter((place) => (!kind || (rows[place].dataset.kind || "").split("|").includes(kind)) && wanted.every((word) => text(place).includes(word)));
  }
  function show() {
    const places = chosen();
    first = Math.max(0, Math.min(first, Math.floor((places.length - 1) / ROWS) * ROWS));
    const end = Math.min(first + ROWS, places.length);
    body.replaceChildren(...places.slice(first, end).map((place) => rows[place]));
    back.disabled = first === 0;
    on.disabled = end >= places.length;
    back.hidden = on.hidden = places.length <= ROWS;
    const range = places.length > ROWS ? first + 1 + " to " + end + " of " : "";
    count.value = places.length === rows.length ? range + rows.length + " rows" : range + places.length + " of " + rows.length + " rows shown";
  }
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      down = sorted === column && !down;
      sorted = column;
      const cell = (place) => rows[place].cells[column].textContent;
      order.sort((a, b) => cell(a).localeCompare(cell(b), "en", { numeric: true }) * (down ? -1 : 1) || a - b);
      heads.forEach((one) => one.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      first = 0;
      show();
    });
  });
  tools.addEventListener("input", () => { first = 0; show(); });
  tools.addEventListener("submit", (event) => event.preventDefault());
  back.addEventListener("click", () => { first -= ROWS; show(); });
  on.addEventListener("click", () => { first += ROWS; show(); });
  window.addEventListener("beforeprint", () => {
    // Paper has every row, in the order that the page says.
    tools.reset();
    order.sort((a, b) => a - b);
    heads.forEach((one) => one.removeAttribute("aria-sort"));
    for (const row of rows) body.append(row);
  });
  window.addEventListener("afterprint", show);
  pages.before(tools);
  show();
}
