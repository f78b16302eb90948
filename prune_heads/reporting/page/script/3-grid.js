// The grid of heads: one column of the data as colours, and the mask of the slider.

/** The heads that are pruned at the step of the slider; null where several masks stand for it. */
function maskNow() {
  const point = data.orders[state.order]?.points[state.step];
  return point ? point.heads : [];
}

/** @type {HTMLTableCellElement[]} */
let cells = [];

function makeGrid() {
  const most = Math.max(...data.blocks.map((block) => block.n_heads));
  const table = make("table", { role: "grid", class: most > 9 ? "grid wide" : "grid", "aria-describedby": "column-note" });
  table.style.setProperty("--columns", String(most));
  const numbers = Array.from({ length: most }, (_, head) => make("th", { scope: "col" }, String(head + 1)));
  const axes = make("tr", { class: "axes" }, make("td", { class: "outside" }), make("th", { colspan: most }, "head"));
  table.append(make("thead", {}, axes, make("tr", {}, make("th", { scope: "col" }, "layer"), ...numbers)));
  const body = make("tbody");
  cells = [];
  for (const block of data.blocks) {
    const row = make("tr", {}, make("th", { scope: "row" }, block.label));
    for (let head = 0; head < most; head++) {
      if (head >= block.n_heads) row.append(make("td", { class: "outside" }));
      else {
        const cell = make("td", { role: "gridcell", tabindex: cells.length === state.head ? 0 : -1, "data-head": cells.length });
        cells.push(cell);
        row.append(cell);
      }
    }
    body.append(row);
  }
  table.append(body);
  table.addEventListener("click", (event) => {
    const cell = /** @type {Element} */ (event.target).closest("[data-head]");
    if (cell) openCard(Number(cell.getAttribute("data-head")), false);
  });
  table.addEventListener("keydown", moveInGrid);
  byId("grid").replaceChildren(table);
}

/** Arrows move, Home and End go to the ends of a row, with Ctrl to those of the model; Enter opens. @param {KeyboardEvent} event */
function moveInGrid(event) {
  const now = cells.indexOf(/** @type {HTMLTableCellElement} */ (event.target));
  if (now < 0) return;
  if (event.key === "Enter" || event.key === " ") {
    event.preventDefault();
    return openCard(now, event.key === "Enter");
  }
  const { block, head } = heads[now];
  const inBlock = (/** @type {number} */ b) => {
    const rows = heads.filter((each) => each.block === b);
    return rows.length ? heads.indexOf(rows[Math.min(head, rows.length - 1)]) : now;
  };
  const first = heads.findIndex((each) => each.block === block);
  const last = first + data.blocks[block].n_heads - 1;
  /** @type {Record<string, number>} */
  const places = {
    ArrowLeft: Math.max(first, now - 1),
    ArrowRight: Math.min(last, now + 1),
    ArrowUp: inBlock(block - 1),
    ArrowDown: inBlock(block + 1),
    Home: event.ctrlKey ? 0 : first,
    End: event.ctrlKey ? heads.length - 1 : last,
  };
  const next = places[event.key];
  if (next === undefined) return;
  event.preventDefault();
  for (const cell of cells) cell.tabIndex = -1;
  cells[next].tabIndex = 0;
  cells[next].focus();
}

function drawGrid() {
  const column = data.columns[state.column];
  const mask = maskNow();
  const pruned = new Set(mask ?? []);
  const scale = column && column.kind === "number" ? scaleOf(column) : null;
  const categories = column && column.kind === "category" ? categoriesOf(column) : null;
  byId("grid").firstElementChild?.setAttribute("aria-label", `Heads by ${column ? nameOf(column) : "place"}`);
  byId("column-note").textContent = column ? shown(column.note) : "No column was measured.";
  cells.forEach((cell, i) => {
    const x = column ? at(column.values, i) : null;
    cell.className = [x === null ? "none" : "", column && isMarked(column, i) ? "marked" : "", pruned.has(i) ? "pruned" : ""].join(" ").trim();
    const fill = typeof x === "number" && scale ? scale.fill(x) : categories?.get(String(x)) ?? "";
    cell.style.setProperty("--fill", fill || "transparent");
    cell.style.setProperty("--on", fill && !fill.startsWith("var") ? inkOn(fill) : "var(--quiet)");
    cell.replaceChildren();
    if (typeof x === "number") {
      const error = at(column.errors, i);
      cell.append(make("span", { class: "value" }, fixed(x, digitsOf(column), scale?.diverges)));
      if (typeof error === "number") cell.append(make("span", { class: "error" }, `±${fixed(error, digitsOf(column))}`));
    } else if (x !== null) cell.append(make("span", { class: "value word" }, String(x)));
    const said = [heads[i].words, column ? `${cellText(column, i)} ${typeof x === "number" ? column.unit : ""}`.trim() : ""];
    if (column && isMarked(column, i)) said.push("significant after correction");
    if (pruned.has(i)) said.push("pruned");
    cell.setAttribute("aria-label", shown(said.filter(Boolean).join(", ")));
    cell.title = shown(said.join("\n"));
    cell.setAttribute("aria-selected", String(i === state.head));
  });
  byId("legend").replaceChildren(...legend(column, scale, categories, mask));
}

/** @param {Column | undefined} column @param {Scale | null} scale @param {Map<string, string> | null} categories @param {number[] | null} mask */
function legend(column, scale, categories, mask) {
  const keys = make("ul", { class: "keys" });
  const key = (/** @type {string} */ name, /** @type {string} */ words, fill = "") => {
    const sign = make("i", { class: name });
    if (fill) sign.style.setProperty("--fill", fill);
    keys.append(make("li", {}, sign, words));
  };
  for (const [word, colour] of categories ?? []) key("", word, colour);
  if (column?.p_adjusted && column.alpha !== null) {
    const n = heads.filter((_, i) => isMarked(column, i)).length;
    key("dot", `significant after correction, p < ${column.alpha}: ${n} of ${heads.length}`);
  }
  if (mask?.length) key("struck", `pruned: ${mask.length} of ${heads.length}`);
  if (mask === null) keys.append(make("li", {}, "several masks stand for this step; none is drawn"));
  if (column && heads.some((_, i) => at(column.values, i) === null)) key("none", "not measured, or gone before");
  return [...(column && scale ? [colourBar(column, scale)] : []), keys];
}
