"use strict";

/* Shows one episode: see page_data in page.py for what it is given. */

/** Decode an 8-bit PNG, gray or RGB, to its exact samples; canvases may alter what they return. */
async function decodePng(base64) {
  const bytes = await unpack(base64);
  const view = new DataView(bytes.buffer);
  const width = view.getUint32(16), height = view.getUint32(20);
  const channels = { 0: 1, 2: 3 }[bytes[25]];
  if (bytes[24] !== 8 || !channels || bytes[28] !== 0) throw new Error("unexpected kind of PNG");
  const parts = [];
  for (let at = 8; at < bytes.length; at += 12 + view.getUint32(at)) {
    const kind = String.fromCharCode(...bytes.subarray(at + 4, at + 8));
    if (kind === "IDAT") parts.push(bytes.subarray(at + 8, at + 8 + view.getUint32(at)));
  }
  const stream = new Blob(parts).stream().pipeThrough(new DecompressionStream("deflate"));
  const raw = new Uint8Array(await new Response(stream).arrayBuffer());
  return { channels, data: await unfilter(raw, height, width * channels, channels) };
}

let busySince = performance.now();

/** Let the page answer if work has gone on for long. */
async function breathe() {
  if (performance.now() - busySince < 25) return;
  await new Promise((done) => setTimeout(done));
  busySince = performance.now();
}

async function unpack(base64) {
  const part = 1 << 18; // a multiple of 4, so that each part can be unpacked alone
  const padding = base64.endsWith("==") ? 2 : base64.endsWith("=") ? 1 : 0;
  const bytes = new Uint8Array((base64.length / 4) * 3 - padding);
  for (let from = 0, at = 0; from < base64.length; from += part) {
    const text = atob(base64.slice(from, from + part));
    for (let i = 0; i < text.length; i++) bytes[at++] = text.charCodeAt(i);
    await breathe();
  }
  return bytes;
}

/** Undo the filter of every row of a PNG; `stride` is the number of channels. */
async function unfilter(raw, height, length, stride) {
  const out = new Uint8Array(height * length);
  for (let y = 0; y < height; y++) {
    if (y % 16 === 0) await breathe();
    const filter = raw[y * (length + 1)], from = y * (length + 1) + 1, to = y * length;
    if (filter === 0) {
      out.set(raw.subarray(from, from + length), to);
      continue;
    }
    for (let x = 0; x < length; x++) {
      const left = x < stride ? 0 : out[to + x - stride];
      const up = y === 0 ? 0 : out[to + x - length];
      let guess = 0;
      if (filter === 1) guess = left;
      else if (filter === 2) guess = up;
      else if (filter === 3) guess = (left + up) >> 1;
      else if (filter === 4) {
        const corner = x < stride || y === 0 ? 0 : out[to + x - length - stride];
        const a = Math.abs(up - corner), b = Math.abs(left - corner);
        const c = Math.abs(left + up - 2 * corner);
        guess = a <= b && a <= c ? left : b <= c ? up : corner;
      }
      out[to + x] = raw[from + x] + guess;
    }
  }
  return out;
}

/** The number that a level stands for: `restore` in page.py. */
function restore(level, { low, high, levels, power }) {
  let share = level / levels;
  if (power === 2) {
    const signed = 2 * share - 1;
    share = (signed * Math.abs(signed) + 1) / 2;
  }
  return low + share * (high - low);
}

function rgb(hex) {
  return [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));
}

/** 256 colours, each a function of its number, as pixels of a canvas: four bytes in one number. */
function colourTable(colour) {
  const table = new Uint32Array(256), bytes = new Uint8ClampedArray(table.buffer);
  for (let level = 0; level < 256; level++) bytes.set([...colour(level), 255], 4 * level);
  return table;
}

/** Colours of the levels of a map, from its lowest to its highest. */
function rampTable(ramp, levels) {
  const stops = ramp.map(rgb);
  return colourTable((level) => {
    const place = Math.min(level / levels, 1) * (stops.length - 1);
    const first = Math.min(Math.floor(place), stops.length - 2);
    return stops[first].map((a, c) => a + (place - first) * (stops[first + 1][c] - a));
  });
}

function make(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

function draw(name, attributes, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

/** Two decimals; what is rounded to zero has no sign. */
function fixed(number) {
  return number.toFixed(2).replace(/^-0\.00$/, "0.00").replace("-", "−");
}

/** Three digits, and not more than four decimals. */
function figureText(number) {
  return `${Number(Number(number.toPrecision(3)).toFixed(4))}`.replace("-", "−");
}

const PANELS = [
  ["image", "image"], ["action", "actions"], ["probability", "probability of the action"],
  ["value", "expected return"], ["reward", "reward"],
];

class Viewer {
  constructor(root, data) {
    Object.assign(this, { root, data, step: 0, plane: 0, compare: "", wipe: 0.5, cursor: null });
    this.view = { zoom: 1, x: data.width / 2, y: data.height / 2 };
    this.decoded = { state: [], target: [] };
    this.closed = new AbortController();
    const palette = data.actions.map((action) => rgb(action.color));
    this.tables = {
      image: colourTable((level) => [level, level, level]),
      action: colourTable((level) => palette[level] ?? [255, 255, 255]),
    };
    for (const [name, ramp] of Object.entries(data.ramps)) {
      this.tables[name] = rampTable(ramp, data.scales[name][0].levels);
    }
    document.title = data.title;
    this.buildHeader();
    const grid = this.buildPanels();
    if (data.decisions) grid.append(this.buildDecisions());
    this.buildDetails(grid);
    this.listen();
    this.show();
    this.ready = this.decodeAll();
  }

  // ---- building the page ----

  buildHeader() {
    const { data } = this;
    const facts = Object.entries(data.facts).map(([key, value]) => `${key}: ${value}`);
    this.stepInput = make("input", { type: "range", id: "step", min: 0, max: data.steps, value: 0 });
    this.stepText = make("output", { for: "step", id: "step-text" });
    this.previous = make("button", { type: "button", "aria-label": "previous step" }, "◀");
    this.next = make("button", { type: "button", "aria-label": "next step" }, "▶");
    this.compareInput = make("select", { id: "compare" }, make("option", { value: "" }, "nothing"),
      make("option", { value: "input" }, "input"),
      make("option", { value: "before" }, "one step before"));
    if (data.target) {
      this.compareInput.append(make("option", { value: "target" }, data.target_name));
    }
    this.wipeInput = make("input", {
      type: "range", id: "wipe", min: 0, max: 100, value: 50, "aria-label": "position of the wipe",
    });
    this.planeInput = make("select", { id: "plane" });
    data.planes.forEach((name, i) => this.planeInput.append(make("option", { value: i }, name)));
    const zoom = [["+", "zoom in", 1.5], ["−", "zoom out", 1 / 1.5], ["fit", "whole image", 0]];
    const buttons = zoom.map(([text, label, factor]) => {
      const button = make("button", { type: "button", "aria-label": label, title: label }, text);
      button.addEventListener("click", () => this.zoomBy(factor));
      return button;
    });
    const planes = make("label", {}, "channel", this.planeInput);
    planes.hidden = data.planes.length < 2;
    this.root.append(
      make("h1", {}, data.title),
      make("p", { class: "facts" }, [...facts, `${data.width}×${data.height} pixels`].join(" · ")),
      make("section", { class: "steps", "aria-label": "steps" }, this.previous,
        make("label", { for: "step" }, "step"), this.stepInput, this.stepText, this.next),
      make("section", { class: "controls", "aria-label": "controls" },
        make("label", {}, "compare with", this.compareInput), this.wipeInput, planes,
        make("div", { class: "zoom" }, ...buttons)),
    );
  }

  buildPanels() {
    const { data } = this;
    this.panels = [];
    const grid = make("section", { class: "panels", "aria-label": "linked views" });
    for (const [kind, title] of PANELS) {
      if (kind !== "image" && !data.maps[kind]) continue;
      const canvas = make("canvas", { tabindex: 0, role: "img" });
      const caption = make("span"), scale = make("span", { class: "scale" });
      const captions = make("figcaption", {}, caption, scale);
      grid.append(make("figure", { "data-kind": kind }, captions, canvas));
      const buffers = [document.createElement("canvas"), document.createElement("canvas")];
      const shown = data.titles?.[kind] ?? title;
      this.panels.push({ kind, title: shown, canvas, caption, scale, buffers, drawn: ["", ""] });
    }
    this.root.append(grid);
    return grid;
  }

  /** The colours of a map and the numbers at their ends. */
  scaleOf(kind) {
    const { data, step } = this;
    if (!data.scales[kind] || step === data.steps) return [];
    const { low, high } = data.scales[kind][step];
    const bar = make("i", {
      style: `background: linear-gradient(to right, ${this.data.ramps[kind].join(", ")})`,
    });
    const ends = [low, high].map((x) => (kind === "probability" ? `${100 * x} %` : figureText(x)));
    return [ends[0], bar, ends[1]];
  }

  buildDetails(grid) {
    const { data } = this;
    this.pixelTitle = make("h2", { id: "pixel-text", "aria-live": "polite" }, "Pixel");
    this.pixelBody = make("tbody");
    const names = ["step", "value"];
    if (data.maps.action) names.push(data.decisions ? "vote" : "action");
    const rest = { probability: "prob.", value: "expected return", reward: "reward" };
    for (const [kind, name] of Object.entries(rest)) if (data.maps[kind]) names.push(name);
    const head = make("tr", {}, ...names.map((name) => make("th", { scope: "col" }, name)));
    const table = make("table", { id: "pixel" }, make("thead", {}, head), this.pixelBody);
    this.shares = make("ul", { class: "legend", id: "legend" });
    this.charts = make("div");
    const pixel = make("section", { class: "pixel", tabindex: 0, "aria-labelledby": "pixel-text" },
      this.pixelTitle, table,
      make("p", { class: "hint" }, "Point at a view, or focus one and move by Shift and arrow " +
        "keys. ← and → change the step; + − 0, Ctrl and wheel, or two fingers zoom; drag to pan."));
    const details = make("section", { class: "details" });
    (data.maps.action ? grid : details).append(pixel);
    if (!data.decisions) {
      details.append(make("section", {}, make("h2", {}, "Share of the actions"),
        this.buildShares(), this.shares));
    }
    details.append(make("section", { id: "charts" }, this.charts));
    this.root.append(details);
  }

  buildShares() {
    const { counts, actions, steps } = this.data;
    const svg = draw("svg", { viewBox: `0 0 400 ${22 * steps + 4}`, id: "histogram", role: "img",
      "aria-label": "share of each action in each step; the figures of a step are listed below" });
    counts.forEach((row, t) => {
      const total = row.reduce((a, b) => a + b);
      svg.append(draw("text", { x: 36, y: 22 * t + 16, "text-anchor": "end" }, `step ${t + 1}`));
      let x = 42;
      row.forEach((count, i) => {
        const width = (350 * count) / total;
        svg.append(draw("rect", { x, y: 22 * t + 2, width, height: 18, fill: actions[i].color },
          draw("title", {}, `${actions[i].label}: ${((100 * count) / total).toFixed(1)} %`)));
        x += width;
      });
    });
    this.shareMark = draw("rect", { x: 41, width: 352, height: 20, fill: "none", stroke: "#1b1b1b",
      "stroke-width": 2 });
    svg.append(this.shareMark);
    return svg;
  }

  /** What a toolchain's agent expected of every action: a column of bars for each step. */
  buildDecisions() {
    const { actions, decisions, forbidden, counts } = this.data;
    const all = decisions.flatMap(({ values }) => values).filter((value) => value !== null);
    // Later steps bring less, so each has a scale of its own; what would do harm may be far below
    // what would help: such bars are cut. figures.py has the same scales.
    const scales = decisions.map(({ values }) => {
      const known = values.filter((value) => value !== null);
      const high = Math.max(0, ...known, Math.max(...all) / 10), lowest = Math.min(0, ...known);
      const low = high > 0 ? Math.max(lowest, -1.5 * high) : lowest;
      return { low, span: high - low || 1 };
    });
    const several = counts[0].reduce((a, b) => a + b) > 1;
    const names = ["expected return", ...(several ? ["votes"] : []),
      ...(decisions[0].outcomes ? ["PSNR"] : [])];
    const steps = make("tr", {}, make("td")), heads = make("tr", {}, make("th", { scope: "col" }, "tool"));
    decisions.forEach(({ taken, preferred }, t) => {
      const button = make("button", { type: "button" }, `step ${t + 1}`);
      button.addEventListener("click", () => this.go(t));
      const instead = taken === preferred ? "" : `, given instead of ${actions[preferred].label}`;
      steps.append(make("th", { scope: "colgroup", colspan: names.length, class: `step t${t}` }, button,
        make("div", {}, actions[taken].label + instead)));
      heads.append(...names.map((name) => make("th", { scope: "col", class: `step t${t}` }, name)));
    });
    const rows = actions.map(({ label, color }, i) => {
      const swatch = make("span", { class: "swatch", style: `background: ${color}` });
      const banned = forbidden.includes(i) ? make("span", { class: "hint" }, " (forbidden)") : "";
      const row = make("tr", {}, make("th", { scope: "row" }, swatch, label, banned));
      decisions.forEach(({ taken, values, votes, outcomes }, t) => {
        const attributes = { class: `step t${t}${i === taken ? " taken" : ""}` }, value = values[i];
        const { low, span } = scales[t];
        const from = Math.max(Math.min(value, 0), low), to = Math.max(value, 0);
        const bar = make("i", { style: `background: ${color};` +
          `left: ${(100 * (from - low)) / span}%; width: ${(100 * (to - from)) / span}%` });
        const zero = make("b", { style: `left: ${(-100 * low) / span}%` });
        const text = value === null ? "–" : fixed(value);
        row.append(make("td", { ...attributes, "data-value": value }, make("span", { class: "bar" }, bar, zero),
          make("span", {}, i === taken ? `▸ ${text}` : text)));
        if (several) row.append(make("td", attributes, votes[i] ? `${(100 * votes[i]).toFixed(0)} %` : ""));
        if (outcomes) {
          const best = outcomes[i] === Math.max(...outcomes);
          row.append(make("td", attributes, `${best ? "★ " : ""}${outcomes[i]?.toFixed(2) ?? "–"}`));
        }
      });
      return row;
    });
    const notes = ["▸ was taken; bars show what the agent expects from here to the end, each step on a " +
      "scale of its own, and are cut far below zero",
      several ? "the mean over its patches, of which each has a vote" : "",
      decisions[0].outcomes ? "PSNR (dB) is what one use of the tool leads to, ★ the best" : ""];
    this.decisionTable = make("table", { id: "decisions" }, make("thead", {}, steps, heads),
      make("tbody", {}, ...rows));
    return make("section", { class: "decisions", tabindex: 0, "aria-label": "what was expected" },
      this.decisionTable, make("p", { class: "hint" }, `${notes.filter(Boolean).join("; ")}.`));
  }

  /** Curve of a metric over the states, with its figures. */
  curve({ label, digits, values }) {
    const known = values.filter((value) => value !== null);
    const low = Math.min(...known), high = Math.max(...known), last = values.length - 1;
    const x = (t) => 24 + (352 * t) / (last || 1);
    const y = (value) => 92 - (64 * (value - low)) / (high - low || 1);
    const points = values.map((value, t) => [t, value]).filter(([, value]) => value !== null);
    const svg = draw("svg", { viewBox: "0 0 400 132", role: "img",
      "aria-label": `${label} of each state: ${values.join(", ")}` });
    svg.append(draw("polyline", { fill: "none", stroke: "#0072B2", "stroke-width": 2,
      points: points.map(([t, value]) => `${x(t)},${y(value)}`).join(" ") }));
    const every = Math.ceil(values.length / 8);
    for (const [t, value] of points) {
      const now = t === this.step;
      svg.append(draw("circle", { cx: x(t), cy: y(value), r: now ? 6 : 3,
        fill: now ? "#D55E00" : "#0072B2" }, draw("title", {}, `${t}: ${value.toFixed(digits)}`)));
      if (now || t === last || (t % every === 0 && Math.abs(t - this.step) >= every)) {
        const anchor = t === 0 ? "start" : t === last ? "end" : "middle";
        const left = t === 0 ? 8 : t === last ? 392 : x(t);
        svg.append(draw("text", { x: left, y: y(value) + (t === 0 ? 18 : -9), "text-anchor": anchor,
          "font-weight": now ? "bold" : "normal" }, value.toFixed(digits)));
      }
      if (t % every === 0 || t === last) {
        svg.append(draw("text", { x: x(t), y: 128, "text-anchor": "middle" }, `${t}`));
      }
    }
    return make("section", {}, make("h2", {}, `${label} after each step`), svg);
  }

  // ---- decoding ----

  /** Decode step by step, what is shown first, and let the page answer in between. */
  async decodeAll() {
    const { data, decoded } = this;
    if (typeof DecompressionStream === "undefined") {
      this.root.prepend(make("p", { role: "alert" }, "This browser is too old to unpack the maps."));
      return;
    }
    for (let t = 0; t <= data.steps; t++) {
      decoded.state[t] = await decodePng(data.states[t]);
      for (const name of Object.keys(data.maps).filter((name) => data.maps[name][t])) {
        decoded[name] ??= [];
        decoded[name][t] = [];
        for (const plane of data.maps[name][t]) decoded[name][t].push(await decodePng(plane));
        data.maps[name][t] = null; // its memory is wanted
      }
      data.states[t] = null;
      this.show();
    }
    if (data.target) decoded.target[0] = await decodePng(data.target);
    this.show();
  }

  // ---- showing ----

  show() {
    const { data, step } = this;
    this.stepInput.value = step;
    this.stepText.textContent = step === 0 ? `0 of ${data.steps}: input`
      : step === data.steps ? `${step} of ${data.steps}: result` : `${step} of ${data.steps}`;
    this.stepInput.setAttribute("aria-valuetext", this.stepText.textContent);
    this.previous.disabled = step === 0;
    this.next.disabled = step === data.steps;
    this.wipeInput.hidden = !this.compare;
    this.showDetails();
    this.showPixel();
    this.paint();
  }

  showDetails() {
    const { data, step } = this;
    this.charts.replaceChildren(...data.metrics.map((metric) => this.curve(metric)));
    if (data.decisions) {
      const last = data.decisions.length - 1;
      for (const cell of this.decisionTable.querySelectorAll(".step")) {
        cell.classList.toggle("now", cell.classList.contains(`t${step}`));
        cell.classList.toggle("shown", cell.classList.contains(`t${Math.min(step, last)}`));
      }
      return;
    }
    const t = Math.min(step, data.steps - 1), row = data.counts[t];
    const total = row.reduce((a, b) => a + b);
    this.shareMark.setAttribute("y", 22 * t + 1);
    this.shareMark.setAttribute("visibility", step < data.steps ? "visible" : "hidden");
    this.shares.replaceChildren(...data.actions.map(({ label, color }, i) => make("li", {},
      make("b", {}, `${((100 * row[i]) / total).toFixed(1)} %`),
      make("span", { class: "swatch", style: `background: ${color}` }), label)));
  }

  /** Level of a map at the cursor, or null while it is not decoded. */
  level(kind, t) {
    const { cursor, data, decoded, plane } = this;
    const found = decoded[kind]?.[t]?.[plane];
    return found ? found.data[cursor.y * data.width + cursor.x] : null;
  }

  stateText(t) {
    const { cursor, data, decoded, plane } = this;
    const state = decoded.state[t];
    if (!state) return "";
    const at = (cursor.y * data.width + cursor.x) * state.channels;
    const values = [...state.data.subarray(at, at + state.channels)];
    return data.planes.length > 1 ? `${values[2 - plane]}` : values.join(", ");
  }

  showPixel() {
    const { cursor, data, step } = this;
    if (!cursor) return;
    const channel = data.planes.length > 1 ? `, ${data.planes[this.plane]} channel` : "";
    this.pixelTitle.textContent = `Pixel in column ${cursor.x}, row ${cursor.y}${channel}`;
    const rows = [];
    for (let t = 0; t <= data.steps; t++) {
      const cells = [make("th", { scope: "row" }, t < data.steps ? `${t + 1}` : "result"),
        make("td", {}, this.stateText(t))];
      const action = this.level("action", t);
      if (action !== null) {
        const { label, color } = data.actions[action] ?? { label: "in no patch", color: "#fff" };
        const swatch = make("span", { class: "swatch", style: `background: ${color}` });
        cells.push(make("td", {}, swatch, label));
        for (const kind of ["probability", "value", "reward"]) {
          if (!data.maps[kind]) continue;
          const level = this.level(kind, t);
          const number = level === null ? null : restore(level, data.scales[kind][t]);
          const text = number === null ? ""
            : kind === "probability" ? `${Math.round(100 * number)} %` : figureText(number);
          cells.push(make("td", {}, text));
        }
      }
      rows.push(make("tr", t === step ? { class: "now" } : {}, ...cells));
    }
    this.pixelBody.replaceChildren(...rows);
  }

  /** Put a decoded image or map into a canvas of its own size, unless it is there already. */
  fill(panel, slot, key, { data, channels }) {
    if (panel.drawn[slot] === key) return;
    const { width, height } = this.data, buffer = panel.buffers[slot];
    if (buffer.width !== width || buffer.height !== height) Object.assign(buffer, { width, height });
    const pixels = new ImageData(width, height), table = this.tables[panel.kind];
    if (channels === 1) {
      const out = new Uint32Array(pixels.data.buffer);
      for (let i = 0; i < out.length; i++) out[i] = table[data[i]];
    } else {
      const out = pixels.data.fill(255);
      for (let i = 0, o = 0; o < out.length; i += 3, o += 4) {
        out[o] = data[i]; out[o + 1] = data[i + 1]; out[o + 2] = data[i + 2];
      }
    }
    buffer.getContext("2d").putImageData(pixels, 0, 0);
    panel.drawn[slot] = key;
  }

  /** What the image is compared with: name and decoded image, or null. */
  other() {
    const { compare, decoded, step, data } = this;
    if (compare === "target") return decoded.target[0] && [data.target_name, decoded.target[0]];
    const t = compare === "input" ? 0 : compare === "before" ? Math.max(step - 1, 0) : -1;
    return t < 0 || !decoded.state[t] ? null : [t ? `step ${t}` : "input", decoded.state[t]];
  }

  paint() {
    const { data, decoded, step, plane } = this;
    const tool = data.decisions ? `: ${data.actions[data.decisions[step - 1]?.taken]?.label}` : "";
    const name = step === 0 ? "input" : `image after step ${step}${tool}`;
    for (const panel of this.panels) {
      const { kind } = panel, isImage = kind === "image";
      const image = isImage ? decoded.state[step] : decoded[kind]?.[step]?.[plane];
      const other = isImage && this.other();
      panel.caption.textContent = isImage ? name + (other ? `, left of the line: ${other[0]}` : "")
        : step < data.counts.length ? `${panel.title}, step ${step + 1}`
          : `${panel.title}: no more steps`;
      panel.canvas.setAttribute("aria-label", panel.caption.textContent);
      panel.scale.replaceChildren(...this.scaleOf(kind));
      if (image) this.fill(panel, 0, `${step} ${plane}`, image);
      if (other) this.fill(panel, 1, other[0], other[1]);
      this.paintPanel(panel, Boolean(image), Boolean(other));
    }
  }

  /** Place of the image in a panel: pixels of the screen for a pixel, and its corner. */
  place(canvas) {
    const { data, view } = this;
    const size = view.zoom * Math.min(canvas.width / data.width, canvas.height / data.height);
    return { size, left: canvas.width / 2 - view.x * size, top: canvas.height / 2 - view.y * size };
  }

  /** Place of an event in the image, in its pixels. */
  placeOf(event, canvas) {
    const box = canvas.getBoundingClientRect(), { size, left, top } = this.place(canvas);
    const ratio = canvas.width / box.width;
    return [((event.clientX - box.left) * ratio - left) / size,
      ((event.clientY - box.top) * ratio - top) / size];
  }

  paintPanel({ kind, canvas, buffers }, hasImage, hasOther) {
    const context = canvas.getContext("2d"), { data, cursor } = this;
    const { size, left, top } = this.place(canvas);
    context.clearRect(0, 0, canvas.width, canvas.height);
    context.imageSmoothingEnabled = size < 1 && kind !== "action";
    canvas.classList.toggle("zoomed", this.view.zoom > 1);
    const draws = (buffer) => context.drawImage(buffer, left, top, data.width * size,
      data.height * size);
    if (hasImage) draws(buffers[0]);
    if (hasOther) {
      const edge = this.wipe * canvas.width;
      context.save();
      context.beginPath();
      context.rect(0, 0, edge, canvas.height);
      context.clip();
      draws(buffers[1]);
      context.restore();
      context.fillStyle = "#D55E00";
      context.fillRect(edge - 1.5, 0, 3, canvas.height);
    }
    if (!cursor) return;
    const side = Math.max(size, 5), x = left + (cursor.x + 0.5) * size;
    const y = top + (cursor.y + 0.5) * size;
    for (const [colour, width] of [["#fff", 4], ["#000", 1.5]]) {
      context.strokeStyle = colour;
      context.lineWidth = width;
      context.strokeRect(x - side / 2 - 2, y - side / 2 - 2, side + 4, side + 4);
    }
  }

  // ---- what people do ----

  go(step) {
    this.step = Math.min(Math.max(step, 0), this.data.steps);
    this.show();
  }

  point(x, y) {
    const { width, height } = this.data;
    this.cursor = {
      x: Math.min(Math.max(x, 0), width - 1), y: Math.min(Math.max(y, 0), height - 1),
    };
    this.showPixel();
    this.later();
  }

  /** Repaint once before the next frame, however many events there are. */
  later() {
    this.waiting ??= requestAnimationFrame(() => {
      this.waiting = undefined;
      this.paint();
    });
  }

  /** Zoom by a factor, 0 for the whole image, around a point of the image. */
  zoomBy(factor, x = this.view.x, y = this.view.y) {
    const { width, height } = this.data, { view } = this;
    const most = Math.max(1, Math.max(width, height) / 8);
    const zoom = Math.min(Math.max(view.zoom * factor, 1), most);
    this.pan(x + ((view.x - x) * view.zoom) / zoom, y + ((view.y - y) * view.zoom) / zoom, zoom);
  }

  pan(x, y, zoom = this.view.zoom) {
    const inside = (at, size) => Math.min(Math.max(at, size / 2 / zoom), size - size / 2 / zoom);
    this.view = { zoom, x: inside(x, this.data.width), y: inside(y, this.data.height) };
    this.later();
  }

  listen() {
    this.stepInput.addEventListener("input", () => this.go(Number(this.stepInput.value)));
    this.previous.addEventListener("click", () => this.go(this.step - 1));
    this.next.addEventListener("click", () => this.go(this.step + 1));
    this.compareInput.addEventListener("change", () => {
      this.compare = this.compareInput.value;
      this.show();
    });
    this.planeInput.addEventListener("change", () => {
      this.plane = Number(this.planeInput.value);
      this.show();
    });
    this.wipeInput.addEventListener("input", () => {
      this.wipe = this.wipeInput.value / 100;
      this.later();
    });
    document.addEventListener("keydown", (event) => this.key(event), { signal: this.closed.signal });
    this.resized = new ResizeObserver(() => this.resize());
    for (const panel of this.panels) {
      this.resized.observe(panel.canvas.parentElement);
      this.listenTo(panel);
    }
  }

  /** Leave the page to another viewer. */
  close() {
    this.closed.abort();
    this.resized.disconnect();
    this.root.replaceChildren();
  }

  resize() {
    const { width, height } = this.data, ratio = window.devicePixelRatio || 1;
    for (const { canvas } of this.panels) {
      const wide = canvas.clientWidth;
      const tall = Math.round(wide * Math.min(Math.max(height / width, 0.4), 1.4));
      canvas.style.height = `${tall}px`;
      canvas.width = Math.round(wide * ratio);
      canvas.height = Math.round(tall * ratio);
    }
    this.paint();
  }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target.matches("input, select")) return; // arrows move these
    const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    const move = moves[event.key], zooms = { "+": 1.5, "-": 1 / 1.5, 0: 0 };
    if (event.shiftKey && move && event.target.matches("canvas")) {
      const from = this.cursor ?? { x: this.data.width >> 1, y: this.data.height >> 1 };
      this.point(from.x + move[0], from.y + move[1]);
    } else if (move && move[0] && !event.shiftKey) this.go(this.step + move[0]);
    else if (event.key in zooms) this.zoomBy(zooms[event.key]);
    else return;
    event.preventDefault();
  }

  listenTo({ kind, canvas }) {
    const pointers = new Map();
    let wiping = false;
    const at = (event) => this.placeOf(event, canvas);
    const share = (event) => {
      const box = canvas.getBoundingClientRect();
      return (event.clientX - box.left) / box.width;
    };
    const distance = () => {
      const [a, b] = [...pointers.values()];
      return Math.hypot(a.clientX - b.clientX, a.clientY - b.clientY) || 1;
    };
    canvas.addEventListener("pointerdown", (event) => {
      pointers.set(event.pointerId, event);
      canvas.setPointerCapture(event.pointerId);
      wiping = kind === "image" && this.compare !== "" && pointers.size === 1 &&
        Math.abs(share(event) - this.wipe) * canvas.clientWidth < 16;
      this.point(...at(event).map(Math.floor));
    });
    canvas.addEventListener("pointermove", (event) => {
      const before = pointers.get(event.pointerId);
      if (wiping) {
        this.wipe = Math.min(Math.max(share(event), 0), 1);
        this.wipeInput.value = 100 * this.wipe;
      } else if (before && pointers.size === 2) {
        const old = distance();
        pointers.set(event.pointerId, event);
        this.zoomBy(distance() / old, ...at(event));
      } else if (before) {
        const [x, y] = at(event), [oldX, oldY] = at(before);
        this.pan(this.view.x + oldX - x, this.view.y + oldY - y);
      }
      if (before) pointers.set(event.pointerId, event);
      if (pointers.size < 2) this.point(...at(event).map(Math.floor));
    });
    for (const end of ["pointerup", "pointercancel", "lostpointercapture"]) {
      canvas.addEventListener(end, (event) => {
        pointers.delete(event.pointerId);
        wiping = false;
      });
    }
    canvas.addEventListener("wheel", (event) => {
      if (!event.ctrlKey) return; // the page scrolls
      event.preventDefault();
      this.zoomBy(Math.exp(-event.deltaY / 300), ...at(event));
    }, { passive: false });
  }
}
