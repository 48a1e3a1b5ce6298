"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const names = data.curves.map(([name]) => name);
const LAST = 100; // recall is 0 to 1 in steps of 0.01
const shown = { unit: 0, area: 0, recall: null, sort: "C50", descending: false };

const find = (id) => document.getElementById(id);
const number = (value) => value.toFixed(3);

function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

function draw(tag, attributes, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

const current = () => data.units[shown.unit].areas[shown.area];
const swatch = (name) => make("span", { class: "swatch", style: `background: var(--${name})` });

/** What lies between a curve and the one before; of the first, all that lies under it. */
const share = (part, index) => part.means[index] - (index ? part.means[index - 1] : 0);

function drawChart() {
  const box = find("chart");
  const width = Math.max(240, box.clientWidth);
  const height = Math.round(Math.min(440, Math.max(260, width * 0.66)));
  const left = 48, right = 10, top = 10, bottom = 40;
  const x = (recall) => left + (recall / LAST) * (width - left - right);
  const y = (precision) => top + (1 - precision) * (height - top - bottom);
  const svg = draw("svg", { viewBox: `0 0 ${width} ${height}`, width, height });
  const part = current();
  if (part) {
    // from the back to the front: a curve covers all that lies under it
    for (let index = names.length - 1; index >= 0; index--) {
      const line = part.points[index].map((value, recall) => `${x(recall).toFixed(1)},${y(value / data.steps).toFixed(1)}`);
      const path = `M${x(0)},${y(0)}L${line.join("L")}L${x(LAST)},${y(0)}Z`;
      svg.append(draw("path", { class: "layer", d: path, style: `fill: var(--${names[index]})` }));
    }
  } else {
    svg.append(draw("text", { x: x(50), y: y(0.5), "text-anchor": "middle" }, "there is no object of this size"));
  }
  for (const tick of [0, 0.2, 0.4, 0.6, 0.8, 1]) {
    const label = tick.toFixed(1);
    svg.append(draw("text", { x: x(tick * LAST), y: height - bottom + 16, "text-anchor": "middle" }, label));
    svg.append(draw("text", { x: left - 6, y: y(tick) + 4, "text-anchor": "end" }, label));
  }
  svg.append(draw("text", { x: x(50), y: height - 6, "text-anchor": "middle" }, "recall"));
  svg.append(draw("text", { x: 11, y: y(0.5), "text-anchor": "middle", transform: `rotate(-90 11 ${y(0.5)})` }, "precision"));
  svg.append(draw("rect", { class: "frame", x: left, y: top, width: width - left - right, height: height - top - bottom }));
  const cursor = draw("line", { class: "cursor", y1: top, y2: height - bottom, visibility: "hidden" });
  svg.append(cursor);
  svg.addEventListener("pointermove", (event) => {
    const at = (event.clientX - svg.getBoundingClientRect().left - left) / (width - left - right);
    pointAt(Math.round(Math.min(1, Math.max(0, at)) * LAST));
  });
  svg.addEventListener("pointerleave", () => pointAt(null));
  box.moveCursor = () => {
    cursor.setAttribute("visibility", shown.recall === null || !part ? "hidden" : "visible");
    for (const end of ["x1", "x2"]) cursor.setAttribute(end, x(shown.recall ?? 0));
  };
  box.replaceChildren(svg);
  box.moveCursor();
}

function pointAt(recall) {
  shown.recall = recall;
  find("chart").moveCursor();
  fillMeanings();
}

function fillMeanings() {
  const part = current();
  const at = shown.recall === null ? "mean" : `at ${(shown.recall / LAST).toFixed(2)}`;
  const head = make("tr", {}, make("th", {}, "curve, and what it adds"), make("th", {}, at), make("th", {}, "share"));
  const rows = data.curves.map(([name, meaning], index) => {
    const value = !part ? "-" : number(shown.recall === null ? part.means[index] : part.points[index][shown.recall] / data.steps);
    const words = make("td", {}, swatch(name), make("b", {}, name), make("small", {}, meaning));
    return make("tr", {}, words, make("td", {}, value), make("td", {}, part ? number(share(part, index)) : "-"));
  });
  find("meanings").replaceChildren(head, ...rows.reverse());
}

const COLUMNS = [
  ["name", (unit) => unit.name],
  ["objects", (unit, part) => part.objects],
  ["C75", (unit, part) => part.means[0]],
  ["C50", (unit, part) => part.means[1]],
  ...data.losses.map((name) => [name, (unit, part) => share(part, names.indexOf(name))]),
];

function fillRows() {
  const kind = data.units[shown.unit].kind === "supercategory" ? "supercategory" : "class";
  const units = data.units.map((unit, index) => ({ unit, index, part: unit.areas[shown.area] }));
  const members = units.filter(({ unit }) => unit.kind === kind);
  const there = members.filter(({ part }) => part);
  const column = COLUMNS.find(([name]) => name === shown.sort)[1];
  const rank = (row) => column(row.unit, row.part);
  const compare = (one, other) => (one < other ? -1 : one > other ? 1 : 0) * (shown.descending ? -1 : 1);
  there.sort((one, other) => compare(rank(one), rank(other)) || other.part.objects - one.part.objects);
  find("among").textContent = kind === "class" ? "Classes" : "Super-categories";
  const gone = members.length - there.length;
  find("absent").textContent = gone ? `${gone} of ${members.length} have no object of this size, and are left out.` : "";
  const heads = COLUMNS.map(([name]) => {
    const mark = name !== shown.sort ? "" : shown.descending ? " \u25be" : " \u25b4";
    const sorted = name !== shown.sort ? "none" : shown.descending ? "descending" : "ascending";
    return make("th", { "aria-sort": sorted }, make("button", { type: "button", onclick: () => sortBy(name) }, name + mark));
  });
  const rows = there.map(({ unit, index, part }) => {
    const choose = make("button", { type: "button", onclick: () => chooseUnit(index, true) }, unit.name);
    const figures = COLUMNS.slice(1).map(([name, value]) => {
      const found = value(unit, part);
      return make("td", {}, name === "objects" ? String(found) : number(found));
    });
    const parts = names.map((name, position) => {
      const width = (Math.max(0, share(part, position)) * 100).toFixed(2);
      return width === "0.00" ? "" : make("i", { style: `width: ${width}%; background: var(--${name})`, title: name });
    });
    const bar = make("div", { class: "bar", "aria-hidden": "true" }, ...parts);
    const chosen = index === shown.unit ? "chosen" : "";
    return make("tr", { class: chosen }, make("td", {}, choose), make("td", {}, bar), ...figures);
  });
  heads.splice(1, 0, make("th", {}, "from C75 to FN"));
  find("rows").replaceChildren(make("tr", {}, ...heads), ...rows);
}

function sortBy(name) {
  shown.descending = name === shown.sort ? !shown.descending : !["name", "C75", "C50"].includes(name);
  shown.sort = name;
  fillRows();
}

function chooseUnit(index, scroll) {
  shown.unit = index;
  find("unit").value = String(index);
  show();
  if (scroll) find("curves").scrollIntoView({ block: "nearest" });
}

function show() {
  const part = current();
  find("count").textContent = part ? `${part.objects} object${part.objects === 1 ? "" : "s"}` : "no object";
  drawChart();
  fillMeanings();
  fillRows();
}

function begin() {
  const groups = { all: null, supercategory: "Super-categories (mean of their classes)", class: "Classes" };
  for (const [kind, label] of Object.entries(groups)) {
    const options = data.units.flatMap((unit, index) => (unit.kind === kind ? [make("option", { value: index }, unit.name)] : []));
    if (options.length) find("unit").append(...(label ? [make("optgroup", { label }, ...options)] : options));
  }
  find("unit").addEventListener("change", (event) => chooseUnit(Number(event.target.value), false));
  data.areas.forEach((name, index) => {
    const input = make("input", { type: "radio", name: "area", value: index });
    input.checked = index === shown.area;
    input.addEventListener("change", () => { shown.area = index; show(); });
    find("areas").append(make("label", {}, input, make("span", {}, name === "all" ? "all sizes" : name)));
  });
  find("chart").addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!step) return;
    event.preventDefault();
    pointAt(Math.min(LAST, Math.max(0, (shown.recall ?? 50) + step)));
  });
  find("grouped").textContent = data.groupedBy
    ? `Similar classes are those of one super-category; these are from ${data.groupedBy}.`
    : "The data names no super-categories, so every class is its own: Sim equals Loc, and all confusions are in Oth.";
  let width = find("chart").clientWidth;
  new ResizeObserver(() => {
    if (find("chart").clientWidth === width) return;
    width = find("chart").clientWidth;
    drawChart();
  }).observe(find("chart"));
  show();
}

begin();
