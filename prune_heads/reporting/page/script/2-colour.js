// Colours of numbers. Lightness rises or falls evenly (OKLab), so that they can be told apart without seeing hues.

const SCALES = {
  light: {
    sequential: ["#f6f3e8", "#bfdcb4", "#66b8a4", "#2c83a0", "#2b4a86", "#231b4d"],
    diverging: ["#67001f", "#b5242f", "#e58a6e", "#f3f1ec", "#78b2d8", "#2369ae", "#053061"],
  },
  dark: {
    sequential: ["#24272d", "#2c4468", "#2a7b98", "#58bca2", "#c3e6a8", "#fbf8d2"],
    diverging: ["#ffd9c7", "#f08a6a", "#a03a3a", "#2a2d33", "#2f6aa8", "#79b8ec", "#d8edff"],
  },
};
const CATEGORIES = {
  light: ["#56b4e9", "#e69f00", "#009e73", "#cc79a7", "#f0e442", "#0072b2", "#d55e00", "#999999"],
  dark: ["#56b4e9", "#e69f00", "#2fbf93", "#d98fb8", "#f0e442", "#4a9bd6", "#f0803c", "#aaaaaa"],
};

/** @param {string[]} stops @param {number} t From 0 to 1. */
function mixed(stops, t) {
  const place = Math.min(1, Math.max(0, t)) * (stops.length - 1);
  const i = Math.min(stops.length - 2, Math.floor(place));
  return `color-mix(in oklab, ${stops[i]}, ${stops[i + 1]} ${(100 * (place - i)).toFixed(1)}%)`;
}

const probe = document.createElement("canvas").getContext("2d", { willReadFrequently: true });

/** Black or white, whichever can be read on a colour (WCAG 2.2: the luminance at which both have the same contrast). @param {string} colour */
function inkOn(colour) {
  if (!probe) return "#000";
  probe.fillStyle = colour;
  probe.fillRect(0, 0, 1, 1);
  const linear = [...probe.getImageData(0, 0, 1, 1).data].map((byte) => (byte <= 10 ? byte / 3294.6 : ((byte / 255 + 0.055) / 1.055) ** 2.4));
  return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2] > 0.179 ? "#000" : "#fff";
}

/**
 * How the numbers of a column are coloured: the whole range, so that no two of them share an end. Where one head is far
 * from the others, by square roots.
 * @typedef {{stops: string[], low: number, high: number, isRoot: boolean, diverges: boolean,
 *   place: (x: number) => number, fill: (x: number) => string}} Scale
 * @param {Column} column @returns {Scale}
 */
function scaleOf(column) {
  const numbers = numbersOf(column);
  const theme = SCALES[state.dark ? "dark" : "light"];
  const diverges = numbers.some((x) => x < 0);
  const sizes = numbers.map(Math.abs).sort((a, b) => a - b);
  const most = sizes[sizes.length - 1] || 1;
  const isRoot = most > 5 * (sizes[Math.floor(sizes.length / 2)] || most);
  const [least, span] = diverges || isRoot ? [0, most] : [Math.min(...numbers), most - Math.min(...numbers) || 1];
  const stops = diverges ? theme.diverging : theme.sequential;
  const place = (/** @type {number} */ x) => {
    const share = (Math.abs(x) - least) / span;
    const t = isRoot ? Math.sqrt(share) : share;
    return diverges ? 0.5 + (Math.sign(x) * t) / 2 : t;
  };
  return { stops, low: diverges ? -most : least, high: most, isRoot, diverges, place, fill: (x) => mixed(stops, place(x)) };
}

/** The words of a category column, most frequent first, with their colours. @param {Column} column @returns {Map<string, string>} */
function categoriesOf(column) {
  const counts = new Map();
  for (let i = 0; i < heads.length; i++) {
    const word = at(column.values, i);
    if (word !== null) counts.set(word, (counts.get(word) ?? 0) + 1);
  }
  const colours = CATEGORIES[state.dark ? "dark" : "light"];
  const words = [...counts.keys()].sort((a, b) => counts.get(b) - counts.get(a) || (a < b ? -1 : 1));
  const named = words.filter((word) => word !== "none");
  return new Map(words.map((word) => [word, named.includes(word) ? colours[Math.min(named.indexOf(word), colours.length - 1)] : "var(--raised)"]));
}

/** The bar of a scale with its numbers. @param {Column} column @param {Scale} scale */
function colourBar(column, scale) {
  const bar = make("div", { class: "bar" });
  bar.style.background = `linear-gradient(in oklab to right, ${scale.stops.join(", ")})`;
  const shares = scale.diverges ? [-1, -0.25, 0, 0.25, 1] : scale.isRoot ? [0, 0.0625, 0.25, 0.5625, 1] : [0, 0.25, 0.5, 0.75, 1];
  const numbers = scale.diverges && !scale.isRoot ? [-1, -0.5, 0, 0.5, 1] : shares;
  const labels = numbers.map((share) => {
    const x = scale.diverges || scale.isRoot ? share * scale.high : scale.low + share * (scale.high - scale.low);
    const label = make("span", {}, fixed(x, digitsOf(column), scale.diverges));
    label.style.left = `${100 * scale.place(x)}%`;
    return label;
  });
  const unit = [column.unit, scale.isRoot ? "colours by square root" : ""].filter(Boolean).join("; ");
  return make("div", { class: "scale" }, bar, make("div", { class: "ticks" }, ...labels), unit);
}
