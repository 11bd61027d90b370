"use strict";

/* The studio's page. What it shows comes from server.py; views are those of viewer.js. */

const byId = (id) => document.getElementById(id);

/** A viewer whose action maps can be painted on. `paint` has tool, size, color() and done(edit). */
class PaintViewer extends Viewer {
  constructor(root, data, paint, before) {
    super(root, data);
    Object.assign(this, { brush: paint, before, stroke: null, sent: false, ran: [] });
    if (before) this.compareInput.append(make("option", { value: "run" }, "run before"));
  }

  other() {
    if (this.compare !== "run") return super.other();
    const step = Math.min(this.step, this.before.length - 1), state = this.before[step];
    return state ? [`run before, step ${step}`, state] : null;
  }

  /** Go on where another viewer was. */
  follow(other) {
    Object.assign(this, { step: Math.min(other.step, this.data.steps), cursor: other.cursor,
      view: other.view, wipe: other.wipe,
      plane: other.plane < this.data.planes.length ? other.plane : 0 });
    this.planeInput.value = this.plane;
    this.wipeInput.value = 100 * this.wipe;
    if (other.compare && [...this.compareInput.options].some((o) => o.value === other.compare)) {
      this.compare = this.compareInput.value = other.compare;
    }
    this.show();
  }

  /** Show the maps of a step as they are painted now. */
  async repaint(step, maps, counts) {
    await this.ready;
    this.ran[step] ??= this.decoded.action[step];
    this.decoded.action[step] = await Promise.all(maps.map(decodePng));
    this.data.counts[step] = counts;
    for (const panel of this.panels) if (panel.kind === "action") panel.drawn = ["", ""];
    byId("histogram").replaceWith(this.buildShares());
    this.step = step;
    this.show();
  }

  /** Probability and reward are those of the last run: not known for an action painted since. */
  level(kind, t) {
    const { cursor, plane, data } = this, ran = this.ran?.[t]?.[plane];
    const at = ran && cursor.y * data.width + cursor.x;
    const painted = ran && ran.data[at] !== this.decoded.action[t][plane].data[at];
    return painted && ["probability", "reward"].includes(kind) ? null : super.level(kind, t);
  }

  point(x, y) {
    super.point(x, y);
    this.brush?.pointed(this.cursor);
  }

  paintPanel(panel, hasImage, hasOther) {
    super.paintPanel(panel, hasImage, hasOther);
    if (panel.kind !== "action" || !this.stroke) return;
    const context = panel.canvas.getContext("2d"), { size, left, top } = this.place(panel.canvas);
    const onScreen = ([x, y]) => [left + (x + 0.5) * size, top + (y + 0.5) * size];
    context.save();
    context.globalAlpha = 0.75;
    context.strokeStyle = context.fillStyle = this.brush.color();
    if (this.brush.tool === "rectangle") {
      const [a, b] = [this.stroke[0], this.stroke.at(-1)];
      const corner = [Math.min(a[0], b[0]) - 0.5, Math.min(a[1], b[1]) - 0.5];
      context.fillRect(...onScreen(corner), (Math.abs(a[0] - b[0]) + 1) * size,
        (Math.abs(a[1] - b[1]) + 1) * size);
    } else {
      context.lineWidth = this.brush.size * size;
      context.lineCap = context.lineJoin = "round";
      context.beginPath();
      context.moveTo(...onScreen(this.stroke[0]));
      for (const place of this.stroke) context.lineTo(...onScreen(place));
      context.stroke();
    }
    context.restore();
  }

  /** Send what was painted. */
  finish() {
    const points = this.brush.tool === "rectangle" ? [this.stroke[0], this.stroke.at(-1)]
      : this.stroke;
    this.sent = true;
    this.brush.done({ kind: this.brush.tool, step: this.step, points }).finally(() => {
      this.stroke = null;
      this.sent = false;
      this.later();
    });
  }

  /** Forget what was begun. */
  drop() {
    if (this.sent) return;
    this.stroke = null;
    this.later();
  }

  /** Add a place to the stroke, if it is far enough from the last for the width of the brush. */
  draw(place) {
    const last = this.stroke.at(-1);
    const distance = Math.hypot(place[0] - last[0], place[1] - last[1]);
    if (distance >= Math.max(1, this.brush.size / 8)) this.stroke.push(place);
  }

  get paints() {
    return Boolean(this.brush?.tool) && this.step < this.data.steps && !this.brush.busy &&
      !this.sent;
  }

  listenTo(panel) {
    if (panel.kind === "action") this.listenToBrush(panel.canvas);
    super.listenTo(panel);
  }

  listenToBrush(canvas) {
    const pixel = (event) => this.placeOf(event, canvas).map(Math.floor);
    let pointer = null;
    canvas.addEventListener("pointerdown", (event) => {
      if (!this.paints || event.button !== 0 || pointer !== null) return;
      event.stopImmediatePropagation();
      canvas.focus();
      canvas.setPointerCapture(event.pointerId);
      pointer = event.pointerId;
      this.stroke = [pixel(event)];
      this.point(...this.stroke[0]);
    });
    canvas.addEventListener("pointermove", (event) => {
      if (event.pointerId !== pointer) return;
      event.stopImmediatePropagation();
      for (const each of event.getCoalescedEvents?.() ?? []) this.draw(pixel(each));
      this.draw(pixel(event));
      this.point(...pixel(event));
    });
    canvas.addEventListener("pointerup", (event) => {
      if (event.pointerId !== pointer) return;
      pointer = null;
      const last = pixel(event);
      if (`${last}` !== `${this.stroke.at(-1)}`) this.stroke.push(last);
      this.finish();
    });
    canvas.addEventListener("pointercancel", (event) => {
      if (event.pointerId !== pointer) return;
      pointer = null;
      this.drop();
    });
    canvas.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || !this.paints || !this.cursor || pointer !== null) return;
      event.preventDefault();
      const place = [this.cursor.x, this.cursor.y];
      this.stroke = [...(this.stroke ?? []), place];
      if (this.brush.tool === "rectangle" && this.stroke.length < 2) this.later();
      else this.finish();
    });
  }
}

class Studio {
  async begin() {
    this.session = (await this.ask("POST", "/api/session")).session;
    this.options = await this.ask("GET", "/api/options");
    for (const { name, title } of this.options.tasks) {
      byId("task").append(make("option", { value: name }, title));
    }
    byId("sample").append(make("option", { value: "" }, "–"),
      ...this.options.samples.map((name) => make("option", { value: name }, name)));
    this.listen();
    await this.chooseTask();
    byId("status").textContent = "Open an image or a sample, then run.";
  }

  get task() {
    return this.options.tasks.find(({ name }) => name === byId("task").value);
  }

  // ---- the server ----

  /** Send a request in the name of the session. */
  async fetch(path, { headers, ...options } = {}) {
    try {
      return await fetch(path, { ...options, headers: { "X-Session": this.session ?? "", ...headers } });
    } catch {
      throw new Error("The studio does not answer: is it still running in its terminal?");
    }
  }

  /** Ask the server for JSON; throws what it refuses. */
  async ask(method, path, body, headers = {}) {
    const response = await this.fetch(path, { method, body, headers });
    const answer = await response.json().catch(() => ({ error: response.statusText }));
    if (!response.ok) throw new Error(answer.error ?? `${response.status}`);
    return answer;
  }

  post(path, message) {
    return this.ask("POST", path, JSON.stringify(message), { "Content-Type": "application/json" });
  }

  /** Do something; if it fails say why, in one line. */
  async attempt(work) {
    byId("error").hidden = true;
    try {
      return await work();
    } catch (error) {
      byId("error").textContent = error.message;
      byId("error").hidden = false;
      return null;
    }
  }

  // ---- what is asked of a run ----

  listen() {
    byId("task").addEventListener("change", () => this.attempt(() => this.chooseTask()));
    byId("level").addEventListener("change", () => this.attempt(() => this.listNetworks()));
    byId("weights").addEventListener("change", () => {
      if (this.task.chain) this.offerActions();
    });
    byId("steps").addEventListener("change", () => this.listSteps());
    byId("file").addEventListener("change", () => this.attempt(() => this.openFile()));
    byId("sample").addEventListener("change", () => this.attempt(() => this.openSample()));
    byId("target").addEventListener("change", () => this.attempt(() => this.openTarget()));
    byId("degrade").addEventListener("change", () => this.showSetup());
    byId("setup").addEventListener("submit", (event) => {
      event.preventDefault();
      this.run();
    });
    byId("stop").addEventListener("click", () => this.attempt(() => this.post("/api/stop", {})));
    for (const kind of ["undo", "redo"]) {
      byId(kind).addEventListener("click", () => this.edit({ kind }));
    }
    byId("replace").addEventListener("click", () => this.replace(byId("new").value));
    byId("lock").addEventListener("click", () => this.replace(byId("old").value));
    byId("free").addEventListener("click", () => this.edit({ kind: "free", step: this.step() }));
    byId("brush").addEventListener("change", () => this.showBrush());
    byId("paint").addEventListener("change", () => this.showBrush());
    for (const button of byId("export").querySelectorAll("button")) {
      button.addEventListener("click", () => this.attempt(() => this.save(button.dataset.kind)));
    }
    document.addEventListener("keydown", (event) => this.key(event));
    window.addEventListener("pagehide", () => fetch("/api/session", { method: "DELETE",
      keepalive: true, headers: { "X-Session": this.session } }));
  }

  key(event) {
    if (!(event.ctrlKey || event.metaKey) || event.target.matches("input[type=number]")) return;
    const again = event.key === "y" || (event.key.toLowerCase() === "z" && event.shiftKey);
    const kind = again ? "redo" : event.key === "z" ? "undo" : null;
    if (!kind || byId("paint").hidden || byId(kind).disabled) return;
    event.preventDefault();
    this.edit({ kind });
  }

  async chooseTask() {
    const { task } = this;
    byId("level").value = task.level ?? "";
    byId("level-name").textContent = task.level_name;
    byId("level-label").hidden = task.level === null;
    byId("steps").value = task.steps;
    byId("degrade").checked &&= task.degrades;
    byId("degrade").disabled = !task.degrades;
    byId("target-text").textContent = task.needs_mask ? "its mask" : "its target, for scores";
    if (byId("target").value) {
      byId("target").value = "";
      await this.openTarget();
    }
    byId("chain").hidden = !task.chain;
    byId("keep-label").hidden = task.chain;
    byId("steps").max = task.chain ? task.steps : 50;
    await this.listNetworks();
  }

  /** Offer a tool for every step of a toolchain. */
  listSteps() {
    const { chain, steps } = this.task, { actions } = this, chosen = this.tools();
    const count = chain ? Math.min(Number(byId("steps").value) || steps, steps) : 0;
    byId("chain").replaceChildren(byId("chain").firstElementChild,
      ...Array.from({ length: count }, (_, t) => {
        const names = ["", ...actions.map(({ name }) => name)];
        const select = make("select", {}, ...names.map((name) =>
          make("option", { value: name }, name || "the agent decides")));
        select.value = names.includes(chosen[t]) ? chosen[t] : "";
        return make("label", {}, `step ${t + 1}`, select);
      }));
  }

  /** Tools that are given, by step; empty where the agent decides. */
  tools() {
    return [...byId("chain").querySelectorAll("select")].map(({ value }) => value);
  }

  async listNetworks() {
    const level = byId("level").value;
    const query = new URLSearchParams({ task: this.task.name, ...(level && { level }) });
    this.networks = await this.ask("GET", `/api/networks?${query}`);
    const names = this.networks.map(({ name }) => name), chosen = byId("weights").value;
    byId("weights").replaceChildren(...names.map((name) => make("option", { value: name }, name)));
    if (names.includes(chosen)) byId("weights").value = chosen;
    if (!names.length) byId("weights").append(make("option", { value: "" }, "none found"));
    this.offerActions();
  }

  /** Actions of the chosen network, which has those of the task unless it names others. */
  get actions() {
    const chosen = this.networks.find(({ name }) => name === byId("weights").value);
    return chosen?.actions ?? this.task.actions;
  }

  offerActions() {
    this.allowed = this.actions.map(({ name, label, color }) => {
      const box = make("input", { type: "checkbox", value: name });
      box.checked = true;
      box.addEventListener("change", () => this.showSetup());
      return make("label", {}, box,
        make("span", { class: "swatch", style: `background: ${color}` }), label).firstChild;
    });
    byId("allowed").replaceChildren(...this.allowed.map((box) => box.parentElement));
    this.listSteps();
    this.showSetup();
  }

  showSetup() {
    const degrades = byId("degrade").checked;
    byId("seed-label").hidden = !degrades;
    byId("target-label").hidden = degrades;
    const forbidden = this.allowed.filter((box) => !box.checked).length;
    byId("forbidden-text").textContent = forbidden ? `(${forbidden} forbidden)` : "(all)";
  }

  /** Send a file or the name of a sample; if it is refused, nothing stays chosen. */
  async send(path, name, input, body) {
    if (body?.size > this.options.max_bytes) {
      input.value = "";
      throw new Error(`${name}: expected at most ${this.options.max_bytes >> 20} MB, found ` +
        `${body.size >> 20}`);
    }
    this.lock(true);
    try {
      await this.ask("POST", `${path}?${new URLSearchParams({ name })}`, body);
    } catch (error) {
      input.value = "";
      throw error;
    } finally {
      this.lock(false);
    }
  }

  async openFile() {
    const [file] = byId("file").files;
    if (!file) return;
    await this.send("/api/image", file.name, byId("file"), file);
    byId("sample").value = "";
    byId("degrade").checked = false;
    this.showSetup();
    this.opened(file.name);
  }

  async openSample() {
    const name = byId("sample").value;
    if (!name) return;
    await this.send("/api/sample", name, byId("sample"));
    byId("file").value = "";
    byId("degrade").checked = this.task.degrades;
    this.showSetup();
    this.opened(name);
  }

  async openTarget() {
    const [file] = byId("target").files;
    await this.send("/api/target", file?.name ?? "", byId("target"), file);
  }

  /** Keep the settings as they are while something is under way. */
  lock(yes) {
    for (const part of byId("setup").querySelectorAll("fieldset, #run")) part.disabled = yes;
  }

  opened(name) {
    byId("target").value = "";
    this.forget();
    byId("status").textContent = `${name} is open.`;
  }

  forget() {
    clearTimeout(this.resting);
    this.viewer?.close();
    this.viewer = null;
    for (const id of ["paint", "export", "change", "probabilities"]) byId(id).hidden = true;
  }

  asked() {
    const number = (id) => (byId(id).value === "" ? null : Number(byId(id).value));
    const { task } = this;
    return {
      task: task.name, level: task.level === null ? null : number("level"), steps: number("steps"),
      weights: byId("weights").value, degrade: byId("degrade").checked, seed: number("seed") ?? 0,
      forbidden: this.allowed.filter((box) => !box.checked).map((box) => box.value),
      keep: !task.chain && byId("keep").value !== "", tools: task.chain ? this.tools() : [],
    };
  }

  // ---- running ----

  async run() {
    this.busy(true);
    await this.attempt(async () => {
      const asked = this.asked(), { task } = this;
      const response = await this.fetch("/api/run", { method: "POST", body: JSON.stringify(asked),
        headers: { "Content-Type": "application/json" } });
      if (!response.ok) throw new Error((await response.json()).error);
      for await (const line of lines(response.body)) await this.happened(JSON.parse(line), task);
    });
    this.busy(false);
  }

  busy(yes) {
    this.lock(yes);
    byId("stop").hidden = byId("progress").hidden = !yes;
    byId("progress").removeAttribute("value");
    if (yes) byId("status").textContent = "";
    byId("live").hidden = true;
    for (const part of document.querySelectorAll("#paint button, #export button")) {
      part.disabled = yes;
    }
    if (this.brush) this.brush.busy = yes;
    if (!yes) this.showPainted(this.painted);
  }

  async happened(event, task) {
    const progress = byId("progress"), status = byId("status");
    if (event.event === "waiting") status.textContent = "Waiting for others.";
    else if (event.event === "begun") status.textContent = "The agents begin.";
    else if (event.event === "step") {
      Object.assign(progress, { max: event.steps, value: event.step });
      status.textContent = `step ${event.step} of ${event.steps}`;
      await this.showLive(event, task);
    } else if (event.event === "parts") {
      Object.assign(progress, { max: event.total, value: event.done });
      status.textContent = `${event.done} of ${event.total} parts, ${Math.ceil(event.seconds_left)} s left`;
    } else if (event.event === "stopped") status.textContent = "Stopped; the run before is kept.";
    else if (event.event === "error") throw new Error(event.error);
    else this.done(event, task);
  }

  /** Show image and actions of a step that has just arrived. */
  async showLive({ step, state, maps }, task) {
    const palette = task.actions.map(({ color }) => rgb(color));
    const pictures = [
      [`image after step ${step}`, await decodePng(state), (level) => [level, level, level]],
      [`actions of step ${step}${maps.length > 1 ? ", blue channel" : ""}`, await decodePng(maps[0]), (level) => palette[level] ?? [0, 0, 0]],
    ];
    const { width, height } = sizeOf(state);
    byId("live").hidden = false;
    byId("live").replaceChildren(...pictures.map(([title, { channels, data }, colour]) => {
      const canvas = make("canvas", { width, height, role: "img", "aria-label": title });
      const pixels = new ImageData(width, height), table = colourTable(colour);
      const words = new Uint32Array(pixels.data.buffer);
      for (let i = 0; i < words.length; i++) {
        if (channels === 1) words[i] = table[data[i]];
        else pixels.data.set([data[3 * i], data[3 * i + 1], data[3 * i + 2], 255], 4 * i);
      }
      canvas.getContext("2d").putImageData(pixels, 0, 0);
      return make("figure", {}, make("figcaption", {}, title), canvas);
    }));
  }

  done({ data, painted, undo, redo, change, seconds }, task) {
    const old = this.viewer, follows = Boolean(old && change && this.shown === task.name);
    const before = follows ? old.decoded.state : null;
    Object.assign(this, { edited: false, painted: { painted, undo, redo }, shown: task.name });
    old?.close();
    if (!follows || data.decisions) this.listActions(data);
    this.viewer = new PaintViewer(byId("viewer"), data, this.brush, before);
    window.viewer = this.viewer;
    if (follows) this.viewer.follow(old);
    byId("paint").hidden = Boolean(data.decisions);
    byId("export").hidden = false;
    byId("save-npz").textContent = data.decisions ? "toolchain" : "action maps";
    byId("probabilities").hidden = true;
    byId("planes-label").hidden = data.planes.length < 2;
    this.showChange(follows ? change : null, data);
    this.showBrush();
    byId("status").textContent = `${data.steps} steps in ${seconds.toFixed(1)} s`;
  }

  showChange(change, data) {
    byId("change").hidden = !change;
    if (!change) return;
    const scores = data.metrics.map(({ key, label, digits }) => {
      const [a, b] = change.scores[key], sign = b < a ? "−" : "+";
      if (a === null || b === null) return `${label} undefined`;
      const by = sign + Math.abs(b - a).toFixed(digits);
      return `${label} ${a.toFixed(digits)} → ${b.toFixed(digits)} (${by})`;
    });
    const { pixels, visible, box } = change;
    const where = box ? ` in columns ${box[0]} to ${box[2]}, rows ${box[1]} to ${box[3]}` : "";
    byId("change").textContent = [`Against the run before: ${pixels} pixels differ${where}, ` +
      `${visible} of them in 8 bits`, ...scores]
      .join("; ");
  }

  // ---- painting ----

  listActions({ actions }) {
    const all = () => actions.map(({ label }, i) => make("option", { value: i }, label));
    byId("brush").replaceChildren(...all(), make("option", { value: -1 }, "let the agents decide"));
    for (const id of ["old", "new"]) byId(id).replaceChildren(...all());
    byId("new").value = Math.min(1, actions.length - 1);
    this.brush = {
      tool: "", size: 1, busy: false,
      color: () => actions[byId("brush").value]?.color ?? "#000000",
      done: (edit) => this.edit({ ...edit, action: Number(byId("brush").value) }),
      pointed: (place) => this.pointed(place),
    };
  }

  showBrush() {
    if (!this.brush) return;
    this.viewer?.drop();
    const paints = this.viewer && !this.viewer.data.decisions;
    this.brush.tool = paints ? document.querySelector("input[name=tool]:checked").value : "";
    this.brush.size = Math.min(Math.max(Number(byId("size").value) || 1, 1), 500);
    byId("brush-color").style.background = this.brush.color();
    const panel = document.querySelector("#viewer figure[data-kind=action]");
    panel?.classList.toggle("painting", this.brush.tool !== "");
  }

  step() {
    return Math.min(this.viewer.step, this.viewer.data.steps - 1);
  }

  replace(by) {
    return this.edit({ kind: "replace", step: this.step(), old: Number(byId("old").value),
      action: Number(by) });
  }

  edit(edit) {
    const planes = this.viewer.data.planes.length > 1 && !byId("planes").checked;
    const message = { ...edit, plane: planes ? this.viewer.plane : null, size: this.brush.size };
    const largest = Math.max(this.viewer.data.width, this.viewer.data.height);
    message.size = Math.min(message.size, largest);
    return this.attempt(async () => {
      const answer = await this.post("/api/edit", message);
      if (answer.step !== undefined) {
        await this.viewer.repaint(answer.step, answer.maps, answer.counts);
      }
      this.painted = answer;
      this.edited = true;
      this.showPainted(answer);
      byId("status").textContent = "Run again to see what the edit changes.";
    });
  }

  showPainted(answer) {
    byId("undo").disabled = !answer?.undo;
    byId("redo").disabled = !answer?.redo;
    const parts = Object.entries(answer?.painted ?? {})
      .map(([step, count]) => `${count} in step ${Number(step) + 1}`);
    byId("painted").textContent = parts.length ? `prescribed actions: ${parts.join(", ")}` : "";
  }

  // ---- one pixel, and saving ----

  /** Ask for all probabilities at a pixel, when the pointer rests. */
  pointed({ x, y }) {
    clearTimeout(this.resting);
    this.resting = setTimeout(async () => {
      if (this.brush.busy || this.viewer?.data.decisions) return;
      const asked = this.viewer;
      const answer = await this.post("/api/pixel", { column: x, row: y }).catch(() => null);
      if (answer && asked && asked === this.viewer) this.showProbabilities(answer.probabilities);
    }, 150);
  }

  showProbabilities(found) {
    const { data, plane } = this.viewer;
    const names = data.actions.map(({ label, color }) => make("th", { scope: "col" },
      make("span", { class: "swatch", style: `background: ${color}` }), label));
    const rows = found.map((planes, t) => make("tr", {}, make("th", { scope: "row" }, `${t + 1}`),
      ...planes[plane].map((p) => make("td", { style: "text-align: right" },
        `${(100 * p).toFixed(1)} %`))));
    byId("probabilities").hidden = false;
    byId("probabilities").querySelector("table").replaceChildren(
      make("thead", {}, make("tr", {}, make("th", { scope: "col" }, "step"), ...names)),
      make("tbody", {}, ...rows));
  }

  async save(kind) {
    const response = await this.fetch(`/api/export/${kind}`);
    if (!response.ok) throw new Error((await response.json()).error);
    const url = URL.createObjectURL(await response.blob());
    const stem = this.viewer.data.title.split(":")[0].replace(/\.[^.]*$/, "") || "image";
    make("a", { href: url, download: `${stem}-pixelrl.${kind}` }).click();
    setTimeout(() => URL.revokeObjectURL(url), 60_000);
    if (this.edited && kind !== "npz") {
      byId("status").textContent = "Saved as of the last run: run again to include the edits.";
    }
  }
}

/** Lines of a stream of text, as they arrive. */
async function* lines(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = [];
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const parts = value.split("\n");
    rest.push(parts[0]);
    for (const part of parts.slice(1)) {
      yield rest.join("");
      rest = [part];
    }
  }
}

/** Width and height of a PNG in base64. */
function sizeOf(png) {
  const bytes = Uint8Array.from(atob(png.slice(0, 32)), (c) => c.charCodeAt(0));
  const view = new DataView(bytes.buffer);
  return { width: view.getUint32(16), height: view.getUint32(20) };
}

window.studio = new Studio();
window.studio.ready = window.studio.attempt(() => window.studio.begin());
