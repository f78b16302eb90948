"use strict";
// What all parts share: the data and their types, the state, elements, numbers. The files are one script, in order.

/**
 * @typedef {{name: string, kind: string, stack: string, layer: number, n_heads: number, label: string}} Block
 * @typedef {(number | null)[][]} Grid One row a block, one cell a head.
 * @typedef {{name: string, title: string, values: (number | string | null)[][], errors: Grid | null, low: Grid | null,
 *   high: Grid | null, p_adjusted: Grid | null, alpha: number | null, unit: string, better: string | null,
 *   kind: string, group: string, split: string | null, note: string, task: string | null, source: string}} Column
 * @typedef {{n: number, value: number, low: number | null, high: number | null, heads: number[] | null}} Point
 * @typedef {{title: string, criterion: string | null, where: string, metric: string, n_examples: number | null,
 *   n_draws: number, is_oracle: boolean, points: Point[], source: string}} Order
 * @typedef {{group_size: number, n_heads: number, head_parameters: number, group_parameters: number,
 *   head_multiply_adds: number, group_multiply_adds: number, block_multiply_adds: number}} Cost
 * @typedef {{n_tokens: number, parameters: number, multiply_adds: number | null, lower_bound: boolean,
 *   blocks: Cost[]}} Costs
 * @typedef {{queries: string[], keys: string[], values: string}} PackedMap Rows of bytes, deflated; 255 is 1.
 * @typedef {{example: number, after: unknown, delta: number | null, map: PackedMap | null}} Change
 * @typedef {{index: number, inputs: Record<string, unknown>, label: unknown, before: unknown}} Example
 * @typedef {{split: string, task: string | null, kind: string | null, examples: Example[],
 *   heads?: (Change[] | null)[][], pruned?: Change[], source: string}} Examples Of an ablation, or of a run.
 * @typedef {{block: number, heads: number[], queries: string[], keys: string[], probabilities: string,
 *   weighted: string | null, longest: number | null}} TextMap Bytes of heads, queries and keys, deflated; 255 is 1, or `longest`.
 * @typedef {{text: string, pair: string | null, tokens: string[], patches?: number[] | null, measure?: string,
 *   answers?: {name: string, probability: number | null, place?: number}[], effects?: Grid, maps?: TextMap[],
 *   source: string}} Sentence
 * @typedef {{title: string, unit: string, better: string, rows: (number | null)[][], source: string}} Pairs A row is two
 *   places of heads and a value, then perhaps its interval and corrected p.
 * @typedef {{model: {name: string}, blocks: Block[], columns: Column[], costs: Costs | null, orders: Order[],
 *   pairs: Pairs[], examples: Examples[], texts: Sentence[]}} Data
 * @typedef {{block: number, head: number, name: string, words: string}} Head
 */

/** @type {Data} */
let data;
/** All heads, block after block: a mask holds places in this list. @type {Head[]} */
let heads = [];
/** What is chosen; see `change`. */
const state = { column: 0, order: 0, step: 0, head: 0, across: 0, up: 0, dark: false, weighted: false, width: 0 };
/** @type {[string[], () => void][]} Parts of the page: the keys of the state that each depends on, and how to draw it. */
const parts = [];

/** Take new values into the state and draw what depends on them. @param {Partial<typeof state>} values */
function change(values) {
  Object.assign(state, values);
  for (const [keys, draw] of parts) if (keys.some((key) => key in values)) draw();
}

/** @param {string} id @returns {HTMLElement} */
function byId(id) {
  const found = document.getElementById(id);
  if (!found) throw new Error(`no element ${id}`);
  return found;
}

/** @param {string} id */
const selectOf = (id) => /** @type {HTMLSelectElement} */ (byId(id));
/** @param {string} id */
const inputOf = (id) => /** @type {HTMLInputElement} */ (byId(id));

/** A text with its control characters and marks of direction written out. @param {unknown} text */
function shown(text) {
  return String(text).replace(/[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/gu, (c) =>
    "\u200c\u200d\n".includes(c) ? c : `\\u{${(c.codePointAt(0) ?? 0).toString(16)}}`,
  );
}

/**
 * A new element; texts become text, never markup.
 * @template {keyof HTMLElementTagNameMap} K
 * @param {K} tag @param {Record<string, string | number | boolean>} [attributes] @param {...(Node | string)} children
 * @returns {HTMLElementTagNameMap[K]}
 */
function make(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

/**
 * A new element of SVG.
 * @param {string} tag @param {Record<string, string | number | boolean>} [attributes] @param {...(Node | string)} children
 */
function svg(tag, attributes = {}, ...children) {
  return fill(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
}

/**
 * @template {Element} E
 * @param {E} element @param {Record<string, string | number | boolean>} attributes @param {(Node | string)[]} children
 */
function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== false) element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...children.map((child) => (typeof child === "string" ? shown(child) : child)));
  return element;
}

/** A text of others, in its own direction. @param {unknown} text */
const foreign = (text) => make("bdi", { dir: "auto" }, String(text));

/** A number with so many decimals, a real minus, and a plus if asked. @param {number} x @param {number} digits @param {boolean} [signed] */
function fixed(x, digits, signed = false) {
  const text = Math.abs(x).toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });
  const isZero = !/[1-9]/.test(text);
  return (isZero ? "" : x < 0 ? "−" : signed ? "+" : "") + text;
}

/** @param {number} p */
const ofP = (p) => (p < 0.0001 ? "p < 0.0001" : `p = ${p.toPrecision(2)}`);

/** @param {Grid | (number | string | null)[][] | null} grid @param {number} i Place of a head. */
const at = (grid, i) => grid?.[heads[i].block]?.[heads[i].head] ?? null;
/** @param {Column} column @param {number} i @returns {number | null} */
const numberAt = (column, i) => /** @type {number | null} */ (column.kind === "number" ? at(column.values, i) : null);
/** @param {Column} column */
const numbersOf = (column) => heads.flatMap((_, i) => numberAt(column, i) ?? []);

/** Decimals that show three digits of the largest number, and one of a typical error. @param {Column} column */
function digitsOf(column) {
  const most = Math.max(0, ...numbersOf(column).map(Math.abs));
  const errors = (column.errors ?? []).flat().flatMap((x) => x || []).sort((a, b) => a - b);
  const needed = [most, 100 * (errors[Math.floor(errors.length / 2)] ?? most)].map((x) => (x ? 2 - Math.floor(Math.log10(x)) : 0));
  return Math.min(8, Math.max(0, ...needed));
}

/** Whether its numbers are differences, whose sign says something. @param {Column} column */
const isSigned = (column) => column.kind === "number" && numbersOf(column).some((x) => x < 0);
/** Whether a head is significant after correction. @param {Column} column @param {number} i */
const isMarked = (column, i) => column.alpha !== null && (/** @type {number} */ (at(column.p_adjusted, i) ?? 1)) < column.alpha;

/** The cell of a head as people read it. @param {Column} column @param {number} i */
function cellText(column, i) {
  const x = at(column.values, i);
  if (typeof x !== "number") return x ?? "not measured";
  const error = at(column.errors, i);
  const [digits, signed] = [digitsOf(column), isSigned(column)];
  return fixed(x, digits, signed) + (typeof error === "number" ? ` ± ${fixed(error, digits)}` : "");
}

/** What a column is called, with what it was measured on where others share its title. @param {Column} column */
function nameOf(column) {
  const alike = data.columns.filter((other) => other.title === column.title);
  const tasks = new Set(data.columns.map((other) => other.task));
  const beside = [tasks.size > 1 ? column.task : null, alike.length > 1 ? column.split?.replace(/^validation_/, "").replaceAll("_", " ") : null];
  const split = alike.filter((other) => other.split === column.split && other.task === column.task);
  const said = [...beside, split.length > 1 ? `(${column.source})` : null].filter(Boolean).join(" ");
  return column.title + (said ? `, ${said}` : "");
}

/** @type {Map<string, Uint8Array>} */
const unpacked = new Map();

/** Bytes from base64 of zlib. @param {string} text */
async function unpack(text) {
  const packed = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/** What is drawn from packed bytes, at once or when they are there. @param {string} text @param {(bytes: Uint8Array) => Node} draw */
function fromBytes(text, draw) {
  const known = unpacked.get(text);
  if (known) return draw(known);
  const place = make("div");
  unpack(text).then((bytes) => {
    unpacked.set(text, bytes);
    place.replaceWith(draw(bytes));
  }, () => place.append("This map is damaged."));
  return place;
}

/** Pixels across for a picture in an element. @param {string} id @param {number} most */
const widthOf = (id, most) => Math.max(280, Math.min(most, byId(id).clientWidth || most));

/** Round numbers from low to high, about `n` of them. @param {number} low @param {number} high @param {number} n */
function ticks(low, high, n) {
  if (!(high > low)) return [low];
  const raw = (high - low) / n;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = (/** @type {number} */ ([1, 2, 5, 10].find((k) => k * power >= raw * 0.999))) * power;
  const found = [];
  for (let k = Math.ceil(low / step - 1e-9); k * step <= high + step * 1e-9; k++) found.push(k * step);
  return found;
}

/** The numbers of an axis as texts, with the decimals that their steps need. @param {number[]} values @param {boolean} [signed] */
function tickTexts(values, signed = false) {
  const step = values.length > 1 ? values[1] - values[0] : Math.abs(values[0]) || 1;
  return values.map((value) => fixed(value, Math.max(0, Math.ceil(-Math.log10(step) - 1e-9)), signed));
}

/** Fill a choice of columns by their groups. @param {HTMLSelectElement} select @param {Column[]} columns @param {number} chosen */
function offer(select, columns, chosen) {
  select.replaceChildren();
  for (const group of new Set(columns.map((column) => column.group))) {
    const options = columns.filter((column) => column.group === group).map((column) => {
      const i = data.columns.indexOf(column);
      return make("option", { value: i, selected: i === chosen }, nameOf(column));
    });
    select.append(make("optgroup", { label: group }, ...options));
  }
}
