// The card of a head: what every column says of it, the examples whose answer it changes most, what it attends to.

/** @param {number} i @param {boolean} goes Whether the focus goes there. */
function openCard(i, goes) {
  for (const cell of cells) cell.tabIndex = -1;
  cells[i].tabIndex = 0;
  change({ head: i });
  byId("status").textContent = `Card of ${heads[i].words}`;
  if (goes) byId("card-title").focus();
  else if (matchMedia("(max-width: 67.99rem)").matches) byId("card").scrollIntoView({ block: "start" });
}

function drawCard() {
  const i = state.head;
  const title = make("h2", { id: "card-title", tabindex: "-1" }, heads[i].words.replace(/^./, (c) => c.toUpperCase()));
  title.addEventListener("keydown", (event) => event.key === "Escape" && cells[i].focus());
  byId("card").replaceChildren(title, make("p", { class: "quiet" }, `${heads[i].name} as the commands write it. `, make("span", { id: "card-pruned" })), ...ofColumns(i), ...ofPairs(i), ...ofExamples(i), ...ofTexts(i));
  drawCardMask();
}

function drawCardMask() {
  byId("card-pruned").textContent = maskNow()?.includes(state.head) ? "Pruned at this step of the slider." : "";
}

/** A table a group of columns; a long one is folded. @param {number} i @returns {Node[]} */
function ofColumns(i) {
  return [...new Set(data.columns.map((column) => column.group))].map((group) => {
    const columns = data.columns.filter((column) => column.group === group);
    const table = make("div", { class: "scrolls" }, columnTable(columns, i));
    const words = columns.flatMap((column) => (column.kind === "category" ? at(column.values, i) ?? [] : []));
    if (columns.length <= 8) return make("section", {}, make("h3", {}, group), table);
    return make("details", {}, make("summary", {}, make("b", {}, group), ` ${words.join(", ")} `, make("span", { class: "quiet" }, `${columns.length} columns`)), table);
  });
}

/** @param {Column[]} columns @param {number} i */
function columnTable(columns, i) {
  const body = make("tbody");
  for (const column of columns) {
    const x = at(column.values, i);
    const [low, high, p] = [at(column.low, i), at(column.high, i), at(column.p_adjusted, i)];
    const digits = digitsOf(column);
    const tested = [];
    if (typeof low === "number" && typeof high === "number") tested.push(`${fixed(low, digits, isSigned(column))} to ${fixed(high, digits, isSigned(column))}`);
    if (typeof p === "number") tested.push(`${ofP(p)}${isMarked(column, i) ? " ●" : ""}`);
    let rank = "";
    if (typeof x === "number") {
      const numbers = numbersOf(column);
      rank = `${1 + numbers.filter((other) => (column.better === "low" ? other < x : other > x)).length} of ${numbers.length}`;
    }
    const unit = typeof x === "number" && column.unit ? [" ", make("span", { class: "unit" }, column.unit)] : [];
    body.append(
      make("tr", { class: isMarked(column, i) ? "marked" : "" },
        make("th", { scope: "row", title: shown(column.note) }, nameOf(column)),
        make("td", { class: "number" }, cellText(column, i), ...unit),
        make("td", { class: "number" }, ...tested.flatMap((text, k) => (k ? [make("br"), text] : [text]))),
        make("td", { class: "number" }, rank)),
    );
  }
  const names = ["", "value", "95% interval, corrected p", "rank"];
  const top = make("thead", {}, make("tr", {}, ...names.map((name, k) => make("th", { scope: "col", class: k ? "number" : "" }, name))));
  return make("table", { class: "plain" }, top, body);
}

/** Its partners: the heads that do the same work, or stand in for it. @param {number} i @returns {Node[]} */
function ofPairs(i) {
  const found = data.pairs.flatMap((pairs) => {
    /** @type {Map<number, (number | null)[]>} */
    const partners = new Map(pairs.rows.flatMap((row) => (row[0] === i ? [[/** @type {number} */ (row[1]), row]] : row[1] === i ? [[/** @type {number} */ (row[0]), row]] : [])));
    const sign = pairs.better === "low" ? 1 : -1;
    const best = [...partners].filter(([, row]) => row[2] !== null).sort(([, a], [, b]) => sign * (Number(a[2]) - Number(b[2]))).slice(0, 5);
    if (!best.length) return [];
    const rows = best.map(([other, [, , value, low, high, p]]) => {
      const button = make("button", { type: "button" }, heads[other].name);
      button.addEventListener("click", () => openCard(other, true));
      const ends = typeof low === "number" && typeof high === "number" ? `${fixed(low, 3, true)} to ${fixed(high, 3, true)}` : "";
      const tested = [ends, typeof p === "number" ? ofP(p) : ""].filter(Boolean).join("; ");
      return make("tr", {}, make("th", { scope: "row" }, button), make("td", { class: "number" }, `${fixed(Number(value), 3, Boolean(ends))} ${pairs.unit}`.trim()), make("td", { class: "number" }, tested));
    });
    return [make("h4", {}, pairs.title), make("table", { class: "plain partners" }, make("tbody", {}, ...rows))];
  });
  return found.length ? [make("h3", {}, "Partners"), ...found] : [];
}

/** @param {number} i @returns {Node[]} */
function ofExamples(i) {
  const title = make("h3", {}, "Examples whose answer it changes most");
  const splits = data.examples.filter((split) => split.heads);
  if (!splits.length) return [title, make("p", { class: "quiet" }, "No run holds examples; see what is missing.")];
  const found = splits.flatMap((split) => {
    const changes = split.heads?.[heads[i].block]?.[heads[i].head] ?? [];
    if (!changes.length) return [];
    const where = make("p", { class: "quiet" }, `${[split.task, split.split.replace(/^validation_/, "").replaceAll("_", " ")].filter(Boolean).join(" ")}, ${split.kind === "only-one" ? "with this head alone in its layer" : "without this head"}`);
    return [where, ...changes.map((change) => example(split, change))];
  });
  return [title, ...(found.length ? found : [make("p", { class: "quiet" }, "It changes none.")])];
}

/** @param {Examples} split @param {Change} change */
function example(split, change) {
  const about = split.examples[change.example];
  const texts = Object.values(about.inputs).filter((text) => text !== null).map((text) => make("p", { class: "text" }, foreign(text)));
  const said = about.label === null ? [] : [make("span", {}, "label "), make("b", {}, foreign(about.label)), "; "];
  if (about.before !== null) said.push(make("b", {}, foreign(about.before)), " → ", make("b", {}, foreign(change.after)));
  if (change.delta !== null) said.push(make("span", { class: "quiet" }, `${about.before === null ? "" : "; "}${fixed(change.delta, 2, true)} nats for the right answer`));
  const box = make("div", { class: "example" }, ...texts, make("p", { class: "answers" }, ...said));
  const packed = change.map;
  if (packed) box.append(fromBytes(packed.values, (bytes) => attention(rowsOf(bytes, 0, packed, 1), packed.queries, packed.keys, "Attention of this head")));
  return box;
}

/**
 * One map of several in a row. @param {Uint8Array} bytes @param {number} place @param {{queries: string[], keys: string[]}} names
 * @param {number} whole What 255 stands for.
 */
function rowsOf(bytes, place, names, whole) {
  const [m, n] = [names.queries.length, names.keys.length];
  return names.queries.map((_, q) => Array.from(bytes.subarray((place * m + q) * n, (place * m + q + 1) * n), (byte) => (byte / 255) * whole));
}

/** @param {number} i @returns {Node[]} */
function ofTexts(i) {
  const title = make("h3", {}, "What it looks at in your sentences");
  if (!data.texts.length) return [title, make("p", { class: "quiet" }, "No run of prune-heads look is on this page; see what is missing.")];
  const switched = make("input", { type: "checkbox", id: "weighted", checked: state.weighted });
  switched.addEventListener("change", () => {
    change({ weighted: switched.checked });
    byId("weighted").focus();
  });
  /** @type {Node[]} */
  const found = [title];
  if (data.texts.some((text) => text.maps?.some((map) => map.weighted))) {
    found.push(make("p", { class: "controls" }, make("label", {}, switched, "weighted by the length of what is read (Kobayashi et al. 2020)")));
  }
  for (const text of data.texts) {
    const map = text.maps?.find((each) => each.block === heads[i].block && each.heads.includes(heads[i].head));
    const effect = text.effects && at(text.effects, i);
    const answers = (text.answers ?? []).slice(0, 3).flatMap(({ name, probability }, k) => [k ? ", " : "", foreign(name), probability === null ? "" : ` ${fixed(probability, 2)}`]);
    /** @type {Node[]} */
    const lines = [text.text, text.pair].flatMap((said) => (said ? make("p", { class: "text" }, foreign(said)) : []));
    if (answers.length) lines.push(make("p", { class: "answers" }, "The model says ", ...answers));
    if (typeof effect === "number") {
      const [what, unit] = text.measure === "score" ? ["score", ""] : ["log-likelihood", " nats"];
      lines.push(make("p", { class: "answers" }, `Without this head the ${what} of the answer changes by `, make("b", {}, `${fixed(effect, 3, true)}${unit}`)));
    }
    if (map) {
      const isWeighted = state.weighted && map.weighted !== null;
      lines.push(fromBytes(isWeighted ? map.weighted ?? "" : map.probabilities, (bytes) => {
        const rows = rowsOf(bytes, map.heads.indexOf(heads[i].head), map, isWeighted ? map.longest ?? 1 : 1);
        const name = `${isWeighted ? "Norm-weighted attention" : "Attention"} of this head`;
        if (text.patches && map.keys.length > text.patches[0] * text.patches[1] - 1) return overPatches(rows, text.patches, map.keys, name);
        return attention(rows, map.queries, map.keys, name);
      }));
    } else lines.push(make("p", { class: "quiet" }, "The attention of this head was not kept."));
    found.push(make("div", { class: "example" }, ...lines));
  }
  return found;
}

/** What the first token, or all patches on average, look at in a picture. @param {number[][]} rows @param {number[]} patches @param {string[]} keys @param {string} name */
function overPatches(rows, [m, n], keys, name) {
  const first = keys.length - m * n;
  const seen = first ? rows[0] : rows[0].map((_, k) => rows.reduce((sum, row) => sum + row[k], 0) / rows.length);
  const grid = Array.from({ length: m }, (_, row) => seen.slice(first + row * n, first + (row + 1) * n));
  const names = (/** @type {number} */ k) => Array.from({ length: k }, (_, i) => String(i + 1));
  return attention(grid, names(m), names(n), `${name} ${first ? `from ${keys[0]}` : "on average"} over the patches of the picture`);
}

/**
 * A map of attention: who asks down, who is looked at across.
 * @param {number[][]} rows @param {string[]} queries @param {string[]} keys @param {string} title
 */
function attention(rows, queries, keys, title) {
  const most = Math.max(1e-9, ...rows.flat());
  const canvas = make("canvas", { width: keys.length, height: queries.length });
  const context = canvas.getContext("2d");
  if (context) {
    const pixels = context.createImageData(keys.length, queries.length);
    const [red, green, blue] = state.dark ? [125, 184, 245] : [8, 48, 107];
    rows.flat().forEach((x, k) => pixels.data.set([red, green, blue, Math.round((255 * x) / most)], 4 * k));
    context.putImageData(pixels, 0, 0);
  }
  const size = Math.max(12, Math.min(18, Math.floor(340 / keys.length)));
  const cut = (/** @type {string} */ token) => (token.length > 12 ? `${token.slice(0, 11)}…` : token);
  const room = (/** @type {string[]} */ tokens) => 12 + 6.6 * Math.max(...tokens.map((token) => cut(shown(token)).length));
  const [left, top] = [room(queries), room(keys)];
  const [width, height] = [size * keys.length, size * queries.length];
  const picture = svg("svg", { width: left + width + 8, height: top + height + 4, viewBox: `0 0 ${left + width + 8} ${top + height + 4}`, role: "img" });
  picture.append(svg("image", { href: canvas.toDataURL(), x: left, y: top, width, height, preserveAspectRatio: "none" }));
  picture.append(svg("rect", { x: left, y: top, width, height }));
  queries.forEach((token, q) => picture.append(svg("text", { x: left - 5, y: top + size * (q + 0.5) + 4, "text-anchor": "end" }, cut(shown(token)))));
  keys.forEach((token, k) => picture.append(svg("text", { transform: `translate(${left + size * (k + 0.5) + 4} ${top - 5}) rotate(-90)` }, cut(shown(token)))));
  const links = rows.flatMap((row, q) => row.map((x, k) => ({ q, k, x }))).sort((a, b) => b.x - a.x).slice(0, 3);
  const said = links.map(({ q, k, x }) => `${queries[q]} → ${keys[k]} ${fixed(x, 2)}`).join("; ");
  picture.setAttribute("aria-label", shown(`${title}. Strongest: ${said}`));
  const note = make("figcaption", {}, `${title}: rows look at columns; darkest ${fixed(most, 2)}. Strongest: ${said}.`);
  if (state.dark) note.textContent = note.textContent?.replace("darkest", "brightest") ?? "";
  picture.addEventListener("pointermove", (event) => {
    const box = picture.getBoundingClientRect();
    const [k, q] = [Math.floor((event.clientX - box.left - left) / size), Math.floor((event.clientY - box.top - top) / size)];
    const x = rows[q]?.[k];
    if (x !== undefined) note.textContent = shown(`${queries[q]} → ${keys[k]}: ${fixed(x, 3)}`);
  });
  return make("figure", {}, make("div", { class: "map" }, picture), note);
}
