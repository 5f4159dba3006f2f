"use strict";
// Which stage's curves are shown, values under the pointer, and the sheets' slider.
const LEFT = 460, RIGHT = 3960, TOP = 60, BOTTOM = 1640, WIDTH = 4000; // charts.py
const axes = JSON.parse(document.getElementById("axes").textContent);
const all = (selector, within = document) => [...within.querySelectorAll(selector)];

// Curves of one stage or all.
const view = document.getElementById("view");
const show = () => {
  for (const svg of all(".chart > svg")) {
    svg.toggleAttribute("hidden", svg.dataset.view !== (view ? view.value : ""));
  }
};
view?.addEventListener("change", show);

// [x, y] of all points of a path; its numbers after "l" lead from one to the next.
const points = (path) => path.found ??= path.getAttribute("d").split("M").slice(1)
  .flatMap((part) => {
    const numbers = part.split(/[lh]/).flatMap((text) => text.match(/-?\d+/g) ?? []);
    let x = 0, y = 0;
    return Array.from({length: numbers.length >> 1}, (_, i) =>
      [x += +numbers[2 * i], y += +numbers[2 * i + 1]]);
  });

const short = (value) => {
  const size = Math.abs(value);
  if (size && (size < 1e-3 || size >= 1e12)) return value.toExponential(1);
  for (const [limit, letter] of [[1e9, "G"], [1e6, "M"], [1e5, "k"]]) {
    if (size >= limit) {
      return `${+(value / (letter === "k" ? 1e3 : limit)).toPrecision(3)}${letter}`;
    }
  }
  return size >= 1000 ? Math.round(value).toLocaleString("en") : `${+value.toPrecision(3)}`;
};

const valueAt = (svg, down) => {
  const [low, high, log] = svg.dataset.scale.split(" ").map(Number);
  const height = (BOTTOM - down) / (BOTTOM - TOP);
  return log ? low * (high / low) ** height : low + (high - low) * height;
};

const stepAt = (name, x) => {
  const share = (x - LEFT) / (RIGHT - LEFT);
  const span = axes[name].find((one) => share <= one[3]) ?? axes[name].at(-1);
  const [stage, last, left, right] = span;
  const step = Math.round(last * Math.max(share - left, 0) / (right - left));
  return `${stage}, step ${Math.min(step, last).toLocaleString("en")}`;
};

for (const figure of all(".chart")) {
  const told = figure.querySelector(".at"), values = all(".key b", figure);
  const latest = values.map((one) => one.textContent);
  const leave = () => {
    told.textContent = "";
    values.forEach((one, i) => { one.textContent = latest[i]; });
    all(".cursor", figure).forEach((line) => line.toggleAttribute("hidden", true));
  };
  for (const svg of all(":scope > svg", figure)) {
    const cursor = svg.querySelector(".cursor");
    svg.addEventListener("pointermove", (event) => {
      const box = svg.getBoundingClientRect();
      const under = (event.clientX - box.left) / box.width * WIDTH;
      const x = Math.min(Math.max(under, LEFT), RIGHT);
      cursor.setAttribute("d", `M${x} ${TOP}V${BOTTOM}`);
      cursor.removeAttribute("hidden");
      told.textContent = stepAt(svg.dataset.view, x);
      values.forEach((one) => { one.textContent = "-"; });
      for (const line of all("g", svg)) {
        const path = line.querySelector(".clear");
        const near = points(path).reduce((a, b) =>
          Math.abs(b[0] - x) < Math.abs(a[0] - x) ? b : a);
        const key = `li[data-line="${line.dataset.line}"] .w${line.dataset.workdir}`;
        const value = valueAt(svg, near[1]) * figure.dataset.factor;
        figure.querySelector(key).textContent = short(value) + figure.dataset.unit;
      }
    });
    svg.addEventListener("pointerleave", leave);
  }
}

// The sheets up to the slider's place.
const slider = document.getElementById("sheet");
if (slider) {
  const names = slider.dataset.names.split("|");
  const turn = () => {
    document.getElementById("sheet-at").textContent = names[slider.value];
    for (const column of all(".sheet")) {
      const figures = all("figure", column);
      const shown = figures.filter((one) => +one.dataset.from <= +slider.value).at(-1);
      figures.forEach((one) => { one.hidden = one !== shown; });
      column.querySelector("p").hidden = shown !== undefined;
    }
  };
  const move = (by) => { slider.value = +slider.value + by; turn(); };
  slider.addEventListener("input", turn);
  document.getElementById("earlier").addEventListener("click", () => move(-1));
  document.getElementById("later").addEventListener("click", () => move(1));
  document.getElementById("full").addEventListener("change", (event) =>
    document.getElementById("sheets").classList.toggle("full", event.target.checked));
}
