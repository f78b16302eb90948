// What happens when the page opens, in order.

const darkOutside = matchMedia("(prefers-color-scheme: dark)");
/** @type {string} */
let choice = "auto";

/** Follow the switch, or the system. @param {boolean} [isPrinted] Paper is light. */
function setTheme(isPrinted = false) {
  const dark = !isPrinted && (choice === "auto" ? darkOutside.matches : choice === "dark");
  document.documentElement.dataset.theme = dark ? "dark" : "light";
  if (data) change({ dark });
  else state.dark = dark;
}

/** @param {string} text */
function warn(text) {
  byId("warning").textContent = text;
  byId("warning").hidden = false;
}

async function start() {
  for (const button of document.querySelectorAll("[data-choice]")) {
    button.addEventListener("click", () => {
      choice = button.getAttribute("data-choice") ?? "auto";
      for (const each of document.querySelectorAll("[data-choice]")) each.setAttribute("aria-pressed", String(each === button));
      setTheme();
    });
  }
  if (typeof DecompressionStream === "undefined") {
    return warn("This browser cannot unpack the data of the page (it has no DecompressionStream). Take Chrome 111, Firefox 113, Safari 16.4, or a newer one.");
  }
  data = JSON.parse(new TextDecoder().decode(await unpack(byId("data").textContent ?? "")));
  heads = data.blocks.flatMap((block, b) => Array.from({ length: block.n_heads }, (_, head) => ({ block: b, head, name: `${block.label}:${head + 1}`, words: wordsOf(block, head) })));
  const first = (/** @type {string} */ group) => data.columns.findIndex((column) => column.group === group && column.kind === "number");
  const numbers = data.columns.filter((column) => column.kind === "number");
  const tested = data.columns.findIndex((column) => column.group === "effect" && column.better === "low" && column.p_adjusted);
  const [effect, importance] = [tested >= 0 ? tested : first("effect"), first("importance")];
  const shownFirst = Math.max(0, effect >= 0 ? effect : importance);
  const across = Math.max(0, importance >= 0 ? importance : data.columns.indexOf(numbers[0]));
  const up = Math.max(0, effect >= 0 ? effect : data.columns.indexOf(numbers[1] ?? numbers[0]));
  document.documentElement.dataset.drawn = "";

  offer(selectOf("column"), data.columns, shownFirst);
  offer(selectOf("across"), numbers, across);
  offer(selectOf("up"), numbers, up);
  for (const id of /** @type {const} */ (["column", "across", "up"])) selectOf(id).addEventListener("change", () => change({ [id]: Number(selectOf(id).value) }));
  byId("pruning").hidden = !data.orders.length;
  byId("scatter").hidden = numbers.length < 2;
  byId("table").hidden = !data.columns.length;
  if (data.orders.length) offerOrders();
  inputOf("filter").addEventListener("input", drawTable);
  inputOf("significant").addEventListener("change", drawTable);
  const stem = data.model.name.replace(/[^\w.-]+/g, "-");
  byId("csv").addEventListener("click", () => download(`${stem}-heads.csv`, "text/csv", csvText()));
  byId("json").addEventListener("click", () => download(`${stem}-page.json`, "application/json", JSON.stringify(data, null, 1)));

  state.head = mostOf(data.columns[shownFirst]);
  makeGrid();
  parts.push([["order", "step", "dark", "width"], drawPruning], [["column", "order", "step", "head", "dark"], drawGrid]);
  parts.push([["head", "dark", "weighted"], drawCard], [["order", "step"], drawCardMask]);
  if (numbers.length > 1) parts.push([["across", "up", "head", "dark", "width"], drawScatter]);
  const bounded = data.orders.findIndex((order) => order.n_draws === 1 && order.points.length > 2 && order.points[0].low !== null);
  change({ head: state.head, column: shownFirst, across, up, order: Math.max(0, bounded), step: 0 });
  drawChanged();
  drawTable();
}

/** @param {Block} block @param {number} head */
function wordsOf(block, head) {
  const several = new Set(data.blocks.map((each) => each.label[0])).size > 1 && /^[EAD]:/.test(block.label);
  const where = block.kind === "cross" ? "decoder to encoder, " : `${block.stack}, `;
  return `${several ? where : ""}layer ${block.label.replace(/^[EAD]:/, "")}, head ${head + 1}`;
}

/** The head that stands out in a column, whose card is open at the start. @param {Column | undefined} column */
function mostOf(column) {
  const size = (/** @type {number} */ i) => Math.abs((column && numberAt(column, i)) ?? -1);
  return heads.reduce((best, _, i) => (size(i) > size(best) ? i : best), 0);
}

setTheme();
darkOutside.addEventListener("change", () => setTheme());
addEventListener("resize", () => data && innerWidth !== state.width && change({ width: innerWidth }));
addEventListener("beforeprint", () => {
  setTheme(true);
  for (const each of document.querySelectorAll("details")) each.open = true;
});
addEventListener("afterprint", () => setTheme());
document.addEventListener("DOMContentLoaded", () => {
  start().catch((error) => warn(`The data of this page cannot be read (${error}). Make the page again.`));
});
