// Two columns against each other, a point a head.

/** @param {number[]} a @param {number[]} b */
function pearson(a, b) {
  const mean = (/** @type {number[]} */ xs) => xs.reduce((sum, x) => sum + x, 0) / xs.length;
  const [ma, mb] = [mean(a), mean(b)];
  const dot = (/** @type {number[]} */ x, /** @type {number} */ mx, /** @type {number[]} */ y, /** @type {number} */ my) => x.reduce((sum, each, i) => sum + (each - mx) * (y[i] - my), 0);
  const spread = Math.sqrt(dot(a, ma, a, ma) * dot(b, mb, b, mb));
  return spread ? dot(a, ma, b, mb) / spread : null;
}

/** Ranks from 1, of equal ones their mean. @param {number[]} xs */
function ranks(xs) {
  const sorted = [...xs].sort((a, b) => a - b);
  return xs.map((x) => (sorted.indexOf(x) + sorted.lastIndexOf(x)) / 2 + 1);
}

function drawScatter() {
  const [across, up] = [data.columns[state.across], data.columns[state.up]];
  const there = heads.map((_, i) => i).filter((i) => numberAt(across, i) !== null && numberAt(up, i) !== null);
  const of = (/** @type {Column} */ column) => there.map((i) => /** @type {number} */ (numberAt(column, i)));
  const [xs, ys] = [of(across), of(up)];
  if (!there.length) return byId("points").replaceChildren(make("p", { class: "quiet" }, "No head has both."));
  const [width, height, left, right, top, bottom] = [widthOf("points", 860), 440, 72, 16, 12, 48];
  const span = (/** @type {number[]} */ values) => {
    const [low, high] = [Math.min(...values), Math.max(...values)];
    const pad = (high - low) * 0.06 || Math.abs(high) * 0.1 || 1;
    return [low - pad, high + pad];
  };
  const [[x0, x1], [y0, y1]] = [span(xs), span(ys)];
  const x = (/** @type {number} */ v) => left + ((v - x0) / (x1 - x0)) * (width - left - right);
  const y = (/** @type {number} */ v) => top + ((y1 - v) / (y1 - y0)) * (height - top - bottom);
  const picture = svg("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": shown(`${nameOf(up)} against ${nameOf(across)}; the table below has the numbers`) });
  const [below, beside] = [ticks(x0, x1, width / 110), ticks(y0, y1, 6)];
  for (const [k, v] of below.entries()) {
    picture.append(svg("line", { class: "axis", x1: x(v), x2: x(v), y1: top, y2: height - bottom }));
    picture.append(svg("text", { class: "quiet", x: x(v), y: height - bottom + 18, "text-anchor": "middle" }, tickTexts(below, isSigned(across))[k]));
  }
  for (const [k, v] of beside.entries()) {
    picture.append(svg("line", { class: "axis", x1: left, x2: width - right, y1: y(v), y2: y(v) }));
    picture.append(svg("text", { class: "quiet", x: left - 6, y: y(v) + 4, "text-anchor": "end" }, tickTexts(beside, isSigned(up))[k]));
  }
  const axis = (/** @type {Column} */ column) => nameOf(column) + (column.unit ? `, ${column.unit}` : "");
  picture.append(svg("text", { x: (left + width - right) / 2, y: height - 8, "text-anchor": "middle" }, axis(across)));
  picture.append(svg("text", { transform: `translate(14 ${(top + height - bottom) / 2}) rotate(-90)`, "text-anchor": "middle" }, axis(up)));
  const stops = SCALES[state.dark ? "dark" : "light"].sequential.slice(1);
  const colour = (/** @type {number} */ i) => mixed(stops, data.blocks.length > 1 ? heads[i].block / (data.blocks.length - 1) : 0.5);
  const [mx, my] = [xs, ys].map((values) => ranks(values)[0] && [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)]);
  const far = (/** @type {number} */ k) => ((xs[k] - mx) / (x1 - x0)) ** 2 + ((ys[k] - my) / (y1 - y0)) ** 2;
  const named = new Set(there.map((_, k) => k).sort((a, b) => far(b) - far(a)).slice(0, 5));
  const order = there.map((_, k) => k).sort((a, b) => Number(there[a] === state.head) - Number(there[b] === state.head));
  for (const k of order) {
    const i = there[k];
    for (const [column, place] of /** @type {[Column, number][]} */ ([[across, 0], [up, 1]])) {
      const error = /** @type {number | null} */ (at(column.errors, i));
      const v = place ? ys[k] : xs[k];
      const low = error === null ? /** @type {number | null} */ (at(column.low, i)) : v - error;
      const high = error === null ? /** @type {number | null} */ (at(column.high, i)) : v + error;
      if (low === null || high === null) continue;
      const clip = (/** @type {number} */ each) => (place ? Math.max(y0, Math.min(y1, each)) : Math.max(x0, Math.min(x1, each)));
      const ends = place ? { x1: x(xs[k]), x2: x(xs[k]), y1: y(clip(low)), y2: y(clip(high)) } : { y1: y(ys[k]), y2: y(ys[k]), x1: x(clip(low)), x2: x(clip(high)) };
      picture.append(svg("line", { class: "whisker", ...ends }));
    }
    const dot = svg("circle", { class: i === state.head ? "dot chosen" : "dot", cx: x(xs[k]), cy: y(ys[k]), r: i === state.head ? 7 : 5, fill: colour(i), "data-head": i });
    dot.append(svg("title", {}, `${heads[i].words}: ${cellText(across, i)}; ${cellText(up, i)}`));
    picture.append(dot);
  }
  const written = /** @type {number[][]} */ ([]); // ends of names; a name that would touch one is left out
  const first = there.findIndex((i) => i === state.head);
  for (const k of new Set([...(first < 0 ? [] : [first]), ...named])) {
    const isRight = x(xs[k]) > width - 80;
    const [from, level] = [x(xs[k]) + (isRight ? -9 : 9), y(ys[k]) + 4];
    const [low, high] = isRight ? [from - 8 * heads[there[k]].name.length, from] : [from, from + 8 * heads[there[k]].name.length];
    if (written.some(([l, h, at]) => low < h && l < high && Math.abs(at - level) < 14)) continue;
    written.push([low, high, level]);
    picture.append(svg("text", { class: "halo", x: from, y: level, "text-anchor": isRight ? "end" : "start" }, heads[there[k]].name));
  }
  picture.addEventListener("click", (event) => {
    const head = /** @type {Element} */ (event.target).getAttribute("data-head");
    if (head !== null) openCard(Number(head), false);
  });
  const [r, rho] = [pearson(xs, ys), pearson(ranks(xs), ranks(ys))].map((value) => (value === null ? "undefined" : fixed(value, 2)));
  const bar = make("div", { class: "bar" });
  bar.style.background = `linear-gradient(in oklab to right, ${stops.join(", ")})`;
  const ends = make("div", { class: "ticks" }, make("span", {}, `block ${data.blocks[0].label}`), make("span", {}, data.blocks[data.blocks.length - 1].label));
  /** @type {HTMLElement} */ (ends.lastElementChild).style.left = "100%";
  byId("points").replaceChildren(make("figure", {}, picture,
    make("div", { class: "scale quiet" }, bar, ends),
    make("figcaption", {}, `${there.length} heads. Pearson ${r}, Spearman ${rho}; 'prune-heads correlate' gives their intervals. Whiskers: standard errors, or 95% intervals where there are none.`)));
}
