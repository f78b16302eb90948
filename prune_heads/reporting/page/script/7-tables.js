// Tables that sort and filter, and what is downloaded.

/** What the table of heads is sorted by: a column, or -1 for the place of the head. */
const sorting = { column: -1, isUp: true };

/** Rows that the filter leaves, in order. */
function rowsShown() {
  const text = inputOf("filter").value.trim().toLowerCase();
  const comparison = /^c(\d+)\s*(<=|>=|<|>|=)\s*([-−+]?[\d.]+(?:e[-+]?\d+)?)$/.exec(text);
  const marked = inputOf("significant").checked;
  const rows = heads.map((_, i) => i).filter((i) => {
    if (marked && !data.columns.some((column) => isMarked(column, i))) return false;
    if (!text) return true;
    if (comparison) {
      const [, number, how, bound] = comparison;
      const column = data.columns[Number(number) - 1];
      const [x, y] = [column ? numberAt(column, i) : null, Number(bound.replace("−", "-"))];
      return x !== null && ((how.includes("=") && x === y) || (how.includes("<") && x < y) || (how.includes(">") && x > y));
    }
    return heads[i].name.toLowerCase().startsWith(text) || data.columns.some((column) => column.kind === "category" && String(at(column.values, i) ?? "").toLowerCase().includes(text));
  });
  const column = data.columns[sorting.column];
  if (column) rows.sort((a, b) => compare(at(column.values, a), at(column.values, b), sorting.isUp) || a - b);
  else if (!sorting.isUp) rows.reverse();
  return rows;
}

/** What is not there comes last, up or down. @param {string | number | null} a @param {string | number | null} b @param {boolean} isUp */
function compare(a, b, isUp) {
  if (a === null || b === null) return Number(a === null) - Number(b === null);
  return (a < b ? -1 : a > b ? 1 : 0) * (isUp ? 1 : -1);
}

function drawTable() {
  const heading = (/** @type {string} */ title, /** @type {string} */ small, /** @type {number} */ place) => {
    const sorted = sorting.column === place ? (sorting.isUp ? "ascending" : "descending") : "none";
    const button = make("button", { type: "button" }, title);
    button.addEventListener("click", () => {
      const isUp = sorting.column === place ? !sorting.isUp : place < 0 || data.columns[place].better === "low" || data.columns[place].kind === "category";
      Object.assign(sorting, { column: place, isUp });
      drawTable();
      /** @type {HTMLElement | null} */ (byId("all").querySelectorAll("thead button")[place + 1])?.focus();
      byId("status").textContent = `Sorted by ${title}, ${isUp ? "ascending" : "descending"}`;
    });
    return make("th", { scope: "col", "aria-sort": sorted }, button, make("small", {}, small));
  };
  const top = make("tr", {}, heading("head", "", -1), ...data.columns.map((column, k) => heading(nameOf(column), [`c${k + 1}`, column.unit].filter(Boolean).join(", "), k)));
  const rows = rowsShown().map((i) => {
    const button = make("button", { type: "button", "aria-label": `Open the card of ${heads[i].words}` }, heads[i].name);
    button.addEventListener("click", () => openCard(i, true));
    const values = data.columns.map((column) => make("td", { class: `${isMarked(column, i) ? "marked" : ""} ${column.kind === "category" ? "word" : ""}` }, at(column.values, i) === null ? "" : cellText(column, i) + (isMarked(column, i) ? " ●" : "")));
    return make("tr", {}, make("th", { scope: "row" }, button), ...values);
  });
  byId("count").textContent = `${rows.length} of ${heads.length} heads`;
  const isBroad = data.columns.length > 10;
  const onPaper = make("p", { class: "on-paper" }, `${data.columns.length} columns are too many for paper: download the table as CSV.`);
  byId("all").replaceChildren(...(isBroad ? [onPaper] : []), make("table", { class: isBroad ? "heads-table broad" : "heads-table" }, make("thead", {}, top), make("tbody", {}, ...rows)));
}

/** A cell of CSV; one that a spreadsheet would compute is a text. @param {string | number | null} value */
function csvCell(value) {
  const text = typeof value === "string" ? (/^[=+\-@]/.test(value) ? `'${shown(value)}` : shown(value)) : String(value ?? "");
  return /[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

/** All columns with their errors and tests, a row a head, numbers in full. */
function csvText() {
  const parts = /** @type {const} */ (["values", "errors", "low", "high", "p_adjusted"]);
  const wanted = data.columns.flatMap((column) => parts.filter((part) => column[part]).map((part) => ({ column, part })));
  const top = ["layer", "head", ...wanted.map(({ column, part }) => [nameOf(column), column.unit, part === "values" ? "" : part].filter(Boolean).join(", "))];
  const rows = heads.map(({ block, head }) => [data.blocks[block].label, head + 1, ...wanted.map(({ column, part }) => column[part]?.[block][head] ?? null)]);
  return [top, ...rows].map((row) => row.map(csvCell).join(",")).join("\n") + "\n";
}

/** @param {string} name @param {string} type @param {string} text */
function download(name, type, text) {
  const link = make("a", { href: URL.createObjectURL(new Blob([text], { type })), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}
