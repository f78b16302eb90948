// The slider over the number of heads pruned. It stops where the metric was measured, and nowhere else.

/** Colour and dashes of an order: those of its criterion, as in the figures (`figures/looks.py`). @param {Order} order */
function styleOf(order) {
  const known = ["gradient", "ablation", "magnitude"];
  if (order.criterion === "random") return { colour: "var(--random)", dashes: "9 3 1.5 3" };
  const others = [...new Set(data.orders.map((each) => each.criterion ?? each.title))].filter((name) => name !== "random" && !known.includes(name));
  const i = [...known, ...others].indexOf(order.criterion ?? order.title);
  return { colour: `var(--s${i % 6})`, dashes: ["none", "7 3", "3 2.5", "8 3 2 3", "5 2 1 2", "10 4"][i % 6] };
}

/** @param {Order} order */
const seenOn = (order) => data.orders.filter((each) => each.where === order.where && each.metric === order.metric);

function offerOrders() {
  const select = selectOf("order");
  for (const where of new Set(data.orders.map((order) => order.where))) {
    const options = data.orders.flatMap((order, i) => (order.where === where ? make("option", { value: i }, order.title) : []));
    select.append(make("optgroup", { label: shown(where) }, ...options));
  }
  select.addEventListener("change", () => {
    const before = data.orders[state.order].points[state.step]?.n ?? 0;
    const order = Number(select.value);
    change({ order, step: nearest(data.orders[order].points, before) });
  });
  inputOf("step").addEventListener("input", () => change({ step: Number(inputOf("step").value) }));
}

/** The step whose number of heads is nearest. @param {Point[]} points @param {number} n */
const nearest = (points, n) => points.reduce((best, point, i) => (Math.abs(point.n - n) < Math.abs(points[best].n - n) ? i : best), 0);

/**
 * What is gone with the heads of a mask; null where it is not known.
 * @param {number[]} mask @param {"parameters" | "multiply_adds"} what
 */
function costOf(mask, what) {
  const costs = data.costs;
  if (!costs || costs[what] === null) return null;
  const gone = new Set(mask);
  let [sum, start] = [0, 0];
  for (const block of costs.blocks) {
    const isGone = (/** @type {number} */ head) => gone.has(start + head);
    const all = Array.from({ length: block.n_heads }, (_, head) => head);
    const n = all.filter(isGone).length;
    const groups = all.filter((head) => head % block.group_size === 0 && all.slice(head, head + block.group_size).every(isGone)).length;
    sum += n * block[`head_${what}`] + groups * block[`group_${what}`];
    if (n === block.n_heads && what === "multiply_adds") sum += block.block_multiply_adds;
    start += block.n_heads;
  }
  return sum;
}

/** @param {Point} point */
const interval = (point) => (point.low === null || point.high === null ? null : `${fixed(point.low, 4)} to ${fixed(point.high, 4)}`);

function drawPruning() {
  const order = data.orders[state.order];
  if (!order) return;
  const slider = inputOf("step");
  selectOf("order").value = String(state.order);
  const point = order.points[state.step];
  slider.max = String(order.points.length - 1);
  slider.value = String(state.step);
  slider.disabled = order.points.length < 2;
  const share = `${point.n} of ${heads.length} (${Math.round((100 * point.n) / heads.length)}%)`;
  slider.setAttribute("aria-valuetext", `${share}: ${order.metric} ${fixed(point.value, 4)}`);
  byId("pruned").textContent = share;
  const readout = byId("readout");
  readout.replaceChildren();
  const say = (/** @type {string} */ name, /** @type {string} */ value, /** @type {string} */ small) =>
    readout.append(make("div", {}, make("dt", {}, name), make("dd", {}, value, make("small", {}, small))));
  const [several, ends] = [order.n_draws > 1, interval(point)];
  say(order.metric, fixed(point.value, 4), ends ? `${several ? `mean; 95% of ${order.n_draws} draws` : "95% interval"} ${ends}` : "no interval measured");
  const random = seenOn(order).find((each) => each.n_draws > 1);
  const there = random?.points.find((each) => each.n === point.n);
  if (random && random !== order) {
    say("random order", there ? fixed(there.value, 4) : "not measured", there ? `mean; 95% of ${random.n_draws} draws ${interval(there)}` : `at ${point.n} heads`);
  }
  for (const what of /** @type {const} */ (["parameters", "multiply_adds"])) {
    const total = data.costs?.[what];
    const gone = point.heads && costOf(point.heads, what);
    const name = what === "parameters" ? "parameters" : `multiply-adds${data.costs ? `, ${data.costs.n_tokens} tokens` : ""}`;
    if (total === undefined || total === null) say(name, "not known", data.costs ? "for this type of model" : "see what is missing");
    else if (gone === null) say(name, "not one number", "each draw prunes other heads");
    else say(name, fixed(total - gone, 0), `${gone ? `−${((100 * gone) / total).toFixed(1)}% of ${fixed(total, 0)}` : "nothing is gone"}${data.costs?.lower_bound && what !== "parameters" ? ", at least" : ""}`);
  }
  byId("curve").replaceChildren(curve(order, point));
}

/** Of runs that pruned: the examples that changed most. */
function drawChanged() {
  const found = data.examples.filter((split) => split.pruned?.length);
  byId("changed").hidden = !found.length;
  const boxes = found.flatMap((split) => [
    make("p", { class: "quiet" }, foreign(split.source), `, ${split.split.replaceAll("_", " ")}`),
    ...(split.pruned ?? []).slice(0, 10).map((change) => example(split, change)),
  ]);
  byId("changed").lastElementChild?.replaceChildren(...boxes);
}

/** @param {Order} order @param {Point} now */
function curve(order, now) {
  const shownOrders = seenOn(order);
  const [width, height, left, right, top, bottom] = [widthOf("curve", 760), 300, 46, 14, 10, 40];
  const every = shownOrders.flatMap((each) => each.points.flatMap((p) => [p.value, ...(each.n_draws > 1 || each === order ? [p.low ?? p.value, p.high ?? p.value] : [])]));
  const pad = (Math.max(...every) - Math.min(...every)) * 0.05 || 0.01;
  const [low, high] = [Math.min(...every) - pad, Math.max(...every) + pad];
  const x = (/** @type {number} */ n) => left + (n / heads.length) * (width - left - right);
  const y = (/** @type {number} */ v) => top + ((high - v) / (high - low)) * (height - top - bottom);
  const picture = svg("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `${order.metric} by the number of heads pruned, ${order.where}; the slider gives the numbers` });
  const levels = ticks(low, high, 5);
  for (const [k, v] of levels.entries()) {
    picture.append(svg("line", { class: "axis", x1: left, x2: width - right, y1: y(v), y2: y(v) }));
    picture.append(svg("text", { class: "quiet", x: left - 6, y: y(v) + 4, "text-anchor": "end" }, tickTexts(levels)[k]));
  }
  for (const n of ticks(0, heads.length, width / 80)) picture.append(svg("text", { class: "quiet", x: x(n), y: height - bottom + 18, "text-anchor": "middle" }, String(n)));
  picture.append(svg("text", { class: "quiet", x: (left + width - right) / 2, y: height - 4, "text-anchor": "middle" }, "heads pruned"));
  const keys = make("ul", { class: "curve-keys" });
  for (const each of [...shownOrders.filter((one) => one !== order), order]) {
    const { colour, dashes } = styleOf(each);
    const line = each.points.map((p, i) => `${i ? "L" : "M"}${x(p.n).toFixed(1)} ${y(p.value).toFixed(1)}`).join("");
    const bounded = each.points.filter((p) => p.low !== null && p.high !== null);
    if ((each === order || each.n_draws > 1) && bounded.length > 1) {
      const up = bounded.map((p) => `${x(p.n).toFixed(1)} ${y(/** @type {number} */ (p.high)).toFixed(1)}`);
      const down = bounded.map((p) => `${x(p.n).toFixed(1)} ${y(/** @type {number} */ (p.low)).toFixed(1)}`).reverse();
      picture.append(svg("path", { class: "band", d: `M${[...up, ...down].join("L")}Z`, fill: colour }));
    }
    picture.append(svg("path", { class: each === order ? "line chosen" : "line", d: line, stroke: colour, "stroke-dasharray": dashes }));
    const sample = svg("svg", { width: 28, height: 10, viewBox: "0 0 28 10", "aria-hidden": true }, svg("path", { class: "line chosen", d: "M0 5H28", stroke: colour, "stroke-dasharray": dashes }));
    keys.prepend(make("li", { class: each === order ? "chosen" : "" }, sample, each.title));
  }
  picture.append(svg("line", { class: "now", x1: x(now.n), x2: x(now.n), y1: top, y2: height - bottom }));
  picture.append(svg("circle", { cx: x(now.n), cy: y(now.value), r: 5, fill: styleOf(order).colour, stroke: "var(--paper)", "stroke-width": 1.5 }));
  const n = order.n_examples ? `, n = ${order.n_examples.toLocaleString("en")}` : "";
  const band = shownOrders.some((each) => each.n_draws > 1) ? " and of the draws of the random order" : "";
  const oracle = order.is_oracle ? " This order was measured on the very examples it is judged by, which flatters it." : "";
  return make("figure", {}, picture, keys, make("figcaption", {}, foreign(order.where), `${n}. Bands: 95% interval of the chosen order${band}.${oracle}`));
}
