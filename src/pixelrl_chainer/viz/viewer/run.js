"use strict";

// Shows the numbers of a chart below the pointer, or, with keys (← and →, Page Up
// and Down, Home and End), of one step after another. A chart is complete without it.

const SVG = "http://www.w3.org/2000/svg";

function nearest(sorted, value) {
  let low = 0, high = sorted.length - 1;
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (sorted[middle] < value) low = middle; else high = middle;
  }
  return value - sorted[low] <= sorted[high] - value ? low : high;
}

function format(value) {
  return value.toPrecision(5).replace(/(\.\d*?)0+(e|$)/, "$1$2").replace(/\.(e|$)/, "$1")
    .replace("-", "\u2212");
}

class Chart {
  constructor(figure) {
    Object.assign(this, JSON.parse(figure.querySelector("script").textContent));
    this.svg = figure.querySelector("svg");
    this.reading = figure.querySelector(".reading");
    // The line with the most numbers says which steps there are.
    this.steps = this.series.reduce((a, b) => (b.x.length > a.x.length ? b : a)).x;
    this.cursor = document.createElementNS(SVG, "path");
    this.cursor.setAttribute("class", "cursor");
    this.svg.append(this.cursor);
    this.index = this.steps.length - 1;
    const point = (event) => this.point(event);
    this.svg.addEventListener("pointermove", point);
    this.svg.addEventListener("pointerdown", point);
    this.svg.addEventListener("keydown", (event) => this.key(event));
    this.svg.addEventListener("focus", () => this.show());
  }

  point(event) {
    const frame = this.svg.getBoundingClientRect(), [left, , right] = this.box;
    const place = (event.clientX - frame.left) / frame.width * this.svg.viewBox.baseVal.width;
    const share = (place - left) / (right - left), [low, high] = this.x;
    this.index = nearest(this.steps, low + share * (high - low));
    this.show();
  }

  key(event) {
    const last = this.steps.length - 1, page = Math.ceil(last / 10);
    const way = {
      ArrowLeft: -1, ArrowRight: 1, PageUp: -page, PageDown: page, Home: -last, End: last,
    }[event.key];
    if (way === undefined || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    this.index = Math.min(Math.max(this.index + way, 0), last);
    this.show();
  }

  show() {
    const step = this.steps[this.index], [left, top, right, bottom] = this.box;
    const [low, high] = this.x;
    const place = left + (step - low) / (high - low) * (right - left);
    this.cursor.setAttribute("d", `M${place} ${top}V${bottom}`);
    const numbers = this.series.map(({ key, x, y }) => {
      const at = nearest(x, step);
      return `${key} ${format(y[at])}` + (x[at] === step ? "" : ` (${this.axis} ${x[at]})`);
    });
    this.reading.textContent = `${this.axis} ${step}: ${numbers.join(", ")}`;
  }
}

window.charts = [...document.querySelectorAll("figure.chart")]
  .filter((figure) => figure.querySelector("script")).map((figure) => new Chart(figure));
