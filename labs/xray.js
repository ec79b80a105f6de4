"use strict";
// ---------------------------------------------------------------------------------------------------------------------
// The trace, unpacked. Every number has an id; the first values.length of them are in the page, the rest only by name.
// ---------------------------------------------------------------------------------------------------------------------
const trace = JSON.parse(document.getElementById("trace").textContent);
const bytes = text => Uint8Array.from(atob(text), c => c.charCodeAt(0)).buffer;
const values = new Float64Array(bytes(trace.values)),
  gradients = new Float64Array(bytes(trace.gradients));
const born = new Int32Array(bytes(trace.born)),
  inputRuns = new Int32Array(bytes(trace.inputs));
const writtenSlopes = new Float64Array(bytes(trace.slopes.written));
const slots = trace.slots,
  slotOf = [],
  rowOf = [],
  names = [];
slots.forEach(slot => {
  slot.rows.forEach((row, r) => {
    const [first, count, start, endings] = row;
    for (let k = 0; k < count; k++) {
      slotOf[first + k] = slot;
      rowOf[first + k] = r;
      names[first + k] = start + trace.endings[endings][k];
    }
  });
  slot.absent = "summary" in slot;
});
const constants = slots.find(slot => slot.kind === "constant");
const called = [...names.entries(), ...trace.aliases]; // [id, one of its names]
const byName = new Map(called.map(([id, name]) => [name, id]));
// A name without its letters and blanks, so that q[3][5] will do for q[3 'm'][5].
const bare = name => name.replace(/'(\\.|[^'])*'|"(\\.|[^"])*"|\bBOS\b|\s/g, "").replace(/->|,/g, "][");
const bareNames = called.map(([, name]) => bare(name).toLowerCase());
const byBareName = new Map(bareNames.map((name, k) => [name, called[k][0]]));
const find = name => byName.get(name) ?? byBareName.get(bare(name).toLowerCase());

// The inputs of number id are inputs[begins[id]] to inputs[begins[id + 1] - 1]; slopes stand beside them.
const begins = new Int32Array(values.length + 1),
  inputs = [],
  slopes = [];
for (let id = 0, at = 0, written = 0; id < values.length; id++) {
  const from = inputs.length;
  for (let runs = inputRuns[at++]; runs > 0; runs--, at += 2)
    for (let k = 0; k < inputRuns[at + 1]; k++) inputs.push(inputRuns[at] + k);
  const count = inputs.length - from,
    kind = trace.slopes.letters[id];
  for (let k = 0; k < count; k++)
    slopes.push(
      kind === "1" ? 1 : kind === "x" ? values[inputs[from + ((k + count / 2) % count)]] : writtenSlopes[written++],
    );
  begins[id + 1] = inputs.length;
}
const inputsOf = id => (id < values.length ? inputs.slice(begins[id], begins[id + 1]) : []);
const slopesOf = id => (id < values.length ? slopes.slice(begins[id], begins[id + 1]) : []);
// What a number's formula reads: its inputs, or what a result that is linked to nothing was given.
const unlinked = new Map(trace.unlinked),
  silenced = new Map(); // id -> the result that read it and kept no link
for (const [id, read] of trace.unlinked) read.forEach(child => silenced.set(child, id));
const operandsOf = id => unlinked.get(id) ?? inputsOf(id);
const users = new Map(); // id -> [[the number that used it, with which slope], ...]
for (let id = 0; id < values.length; id++)
  for (let k = begins[id]; k < begins[id + 1]; k++) {
    if (!users.has(inputs[k])) users.set(inputs[k], []);
    users.get(inputs[k]).push([id, slopes[k]]);
  }

// Adam: for each line, what each parameter read and what came out.
const known = { value: values, gradient: gradients };
const column = told => {
  if (typeof told === "object") known[told.name] = new Float64Array(bytes(told.numbers));
  const name = typeof told === "object" ? told.name : told;
  return typeof told === "number" ? () => told : id => known[name][id];
};
const updates = trace.updates.map(line => ({
  ...line,
  operands: line.operands.map(column),
  result: column(line.result),
}));

// Time: each statement of the forward pass, the same backwards where they made numbers, then the lines of Adam.
const moments = trace.moments.map(([line, from, label], k, all) => ({
  line,
  label,
  from,
  to: k + 1 < all.length ? all[k + 1][1] : from,
}));
const steps = [
  ...moments.map(moment => ({ view: "forward", ...moment })),
  ...moments
    .filter(moment => moment.to > moment.from)
    .reverse()
    .map(moment => ({ view: "backward", ...moment })),
  ...updates.map((u, k) => ({ view: "update", line: u.line, which: k })),
];
const endOf = view => steps.length - 1 - [...steps].reverse().findIndex(step => step.view === view);

// ---------------------------------------------------------------------------------------------------------------------
// State, and what a number shows at the chosen time
// ---------------------------------------------------------------------------------------------------------------------
const state = {
  time: endOf("forward"),
  chosen: null,
  tab: "all",
  lineFilter: null,
  open: new Set(),
  inner: false,
  trail: [],
  at: -1,
};
const step = () => steps[state.time];
const isParameter = id => slotOf[id].kind === "matrix";

function shownNumber(id) {
  // the number of this view, or undefined while it does not exist yet
  if (id >= values.length) return undefined;
  const now = step();
  if (now.view === "forward") return isParameter(id) || born[id] < now.to ? values[id] : undefined;
  if (now.view === "backward") {
    const done = isParameter(id) ? state.time === endOf("backward") : born[id] >= now.from;
    return done ? gradients[id] : undefined;
  }
  if (!isParameter(id)) return undefined;
  const result = updates[now.which].result(id);
  return updates[now.which].name === "data" ? result - values[id] : result;
}
const isNew = id => !isParameter(id) && step().view !== "update" && born[id] >= step().from && born[id] < step().to;

const plain = x =>
  x === undefined
    ? ""
    : (x < 0 ? "−" : "+") +
      (x === 0
        ? "0"
        : Math.abs(x) >= 1e-3 && Math.abs(x) < 1e4
          ? Math.abs(x).toFixed(4)
          : Math.abs(x).toExponential(2));
const figures = x => (x === undefined ? "left out" : Number(x.toPrecision(4)).toString());
const written = id => (slotOf[id] === constants && id < values.length ? figures(values[id]) : names[id]);

// ---------------------------------------------------------------------------------------------------------------------
// Small tools for making elements
// ---------------------------------------------------------------------------------------------------------------------
const $ = id => document.getElementById(id);
function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children.filter(child => child !== null));
  return element;
}
const unbroken = name => name.replace(/ /g, "\u00a0");
function link(id) {
  const element = make("a", {
    className: "number",
    href: "#" + encodeURIComponent(names[id]),
    textContent: unbroken(names[id]),
  });
  element.onclick = event => {
    event.preventDefault();
    choose(id);
  };
  return element;
}
const lineLink = line => {
  const button = make("button", { textContent: "line " + line });
  button.onclick = () => chooseLine(line);
  return button;
};
const style = getComputedStyle(document.documentElement),
  dark = matchMedia("(prefers-color-scheme: dark)");
function colour(x, largest) {
  if (!x || !largest) return "transparent";
  return `rgba(${x > 0 ? "var(--plus)" : "var(--minus)"}, ${(0.08 + (0.8 * Math.abs(x)) / largest).toFixed(3)})`;
}
function largestIn(slot) {
  // by size, of what the slot shows at this time
  if (slot.measuredAt !== state.time) {
    let largest = 0;
    for (const [first, count] of slot.rows)
      for (let id = first; id < first + count; id++) largest = Math.max(largest, Math.abs(shownNumber(id) ?? 0));
    slot.measuredAt = state.time;
    slot.largest = largest;
  }
  return slot.largest;
}

// ---------------------------------------------------------------------------------------------------------------------
// Source
// ---------------------------------------------------------------------------------------------------------------------
const lineButtons = new Map();
// The line that made a slot's numbers, then those it was called from, up to the line of the model.
const linesOf = slot => [slot.line, ...slot.callers.slice(0, slot.callers.indexOf(slot.model_line) + 1)];
const slotsOfLine = line => slots.filter(slot => slot.line && [slot.made_at, ...linesOf(slot)].includes(line));

function drawSource() {
  const pane = $("source");
  pane.append(
    make("h2", { textContent: trace.source.name }),
    make("p", {
      className: "soft",
      textContent:
        "The functions that ran, outermost first, docstrings left out. A line with a dot made numbers: click it.",
    }),
  );
  for (const fn of trace.source.functions) {
    const box = make("section", { className: "function" }, make("h3", { className: "mono", textContent: fn.name }));
    if (fn.says) box.append(make("p", { className: "soft", textContent: fn.says }));
    for (const [title, text] of fn.lectures)
      box.append(
        make(
          "details",
          {},
          make("summary", { textContent: "Lecture: " + title }),
          make("div", { className: "lecture", textContent: text }),
        ),
      );
    const list = make("ol", { className: "code" });
    for (const [line, text, times] of fn.lines) {
      const cut = text.search(/(^|\s)# /),
        code = cut < 0 ? text : text.slice(0, cut),
        comment = cut < 0 ? "" : text.slice(cut);
      const parts = [
        make("span", { className: "no", textContent: line }),
        make("span", { className: "times", textContent: times ? times + "×" : "" }),
        make("span", { className: "text" }, code, make("span", { className: "comment", textContent: comment })),
      ];
      const acts =
        slotsOfLine(line).length ||
        steps.some(step => step.line === line && step.view === "update") ||
        (fn.name.endsWith("backward") && times);
      const holder = make(acts ? "button" : "div", acts ? {} : { className: "plain row" }, ...parts);
      if (!acts) holder.style.cssText = "gap:0;flex-wrap:nowrap";
      if (acts) holder.onclick = () => (fn.name.endsWith("backward") ? setView("backward") : chooseLine(line));
      lineButtons.set(line, holder);
      list.append(make("li", {}, holder));
    }
    box.append(list);
    pane.append(box);
  }
}

// ---------------------------------------------------------------------------------------------------------------------
// All numbers: for each slot a strip of colours, and its figures when it is open
// ---------------------------------------------------------------------------------------------------------------------
const slotBoxes = new Map(); // slot -> { box, canvas, figures }

function drawAll() {
  const all = $("all");
  const parameters = make("div", { className: "matrices" });
  const count = slots.filter(s => s.kind === "matrix").reduce((n, s) => n + s.rows.length * s.rows[0][1], 0);
  const inner = make("button", {
    id: "inner",
    textContent: "inner steps",
    title: "also the numbers inside a line or a helper",
  });
  inner.onclick = () => {
    state.inner = !state.inner;
    refresh();
  };
  const heads = make(
    "div",
    { id: "heads" },
    make("span", {}, inner),
    make("div", {}, ...trace.where.map(w => make("span", { textContent: w }))),
  );
  const rows = make("div", {});
  all.append(
    heads,
    rows,
    make("h3", { id: "parameters", textContent: `The ${count.toLocaleString("en")} parameters` }),
    parameters,
  );
  let layer = "";
  for (const slot of slots) {
    if (slot.kind === "constant") continue;
    const [begin] = slot.label.match(/^layer\d+(?=\.)/) ?? [""];
    if (slot.kind !== "matrix" && begin !== layer)
      rows.append(make("div", { className: "layer mono", textContent: begin }));
    if (slot.kind !== "matrix") layer = begin;
    const label = make(
      "button",
      {},
      make("bdi", { textContent: slot.kind === "matrix" ? slot.label : slot.label.slice(begin && begin.length + 1) }),
    );
    label.title = slot.label + (slot.line ? `, line ${slot.model_line}` : "");
    label.setAttribute("aria-expanded", "false");
    label.onclick = () => {
      state.open.has(slot) ? state.open.delete(slot) : state.open.add(slot);
      refresh();
    };
    const box = make("div", { className: "slot " + slot.kind }, label);
    if (slot.absent) {
      const [low, high, length, slope] = slot.summary;
      box.append(
        make("span", {
          className: "soft mono",
          textContent: `left out: ${figures(low)} to ${figures(high)}, norm ${figures(length)}, gradient ${figures(slope)}`,
        }),
      );
      slotBoxes.set(slot, { box, label });
    } else {
      const canvas = make("canvas");
      canvas.setAttribute("aria-hidden", "true"); // its figures stand in the table below
      canvas.onclick = event => {
        const id = numberAt(slot, canvas, event);
        if (id !== undefined) choose(id);
      };
      canvas.onmousemove = event => {
        const id = numberAt(slot, canvas, event);
        canvas.title = id === undefined ? "" : `${names[id]} ${plain(shownNumber(id))}`;
      };
      const table = make("div", { className: "figures", hidden: true });
      box.append(canvas, table);
      slotBoxes.set(slot, { box, canvas, table, label });
    }
    (slot.kind === "matrix" ? parameters : rows).append(box);
  }
}

const CELL = 3; // pixels of a weight
const columnsOf = slot =>
  slot.rows.length === 1 && !names[slot.rows[0][0]].includes("[") ? 1 : Math.max(trace.where.length, slot.rows.length);
function geometry(slot, canvas) {
  // where each number of the slot is drawn: [id, x, y, width, height]
  const cells = [];
  if (slot.kind === "matrix") {
    slot.rows.forEach(([first, count], r) => {
      for (let k = 0; k < count; k++) cells.push([first + k, k * CELL, r * CELL, CELL, CELL]);
    });
    return cells;
  }
  const width = slot.width / columnsOf(slot);
  const widest = Math.max(...slot.rows.map(row => row[1]));
  const offset = columnsOf(slot) - slot.rows.length;
  slot.rows.forEach(([first, count], r) => {
    const column = offset && slot.rows.length === 1 ? 0 : r,
      each = (width - 4) / widest;
    for (let k = 0; k < count; k++) cells.push([first + k, column * width + 2 + k * each, 0, each, 15]);
  });
  return cells;
}
function numberAt(slot, canvas, event) {
  const x = event.offsetX,
    y = event.offsetY;
  const cell = geometry(slot, canvas).find(
    ([, left, top, width, height]) => x >= left && x < left + width && y >= top && y < top + height,
  );
  return cell && cell[0];
}
function paint(slot, lit) {
  const { canvas } = slotBoxes.get(slot);
  const ratio = window.devicePixelRatio || 1;
  const width = slot.kind === "matrix" ? slot.rows[0][1] * CELL : canvas.clientWidth,
    height = slot.kind === "matrix" ? slot.rows.length * CELL : 15;
  slot.width = width;
  if (canvas.width !== Math.round(width * ratio)) {
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
    if (slot.kind === "matrix") canvas.style.cssText = `width:${width}px;height:${height}px`;
  }
  const pen = canvas.getContext("2d");
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  pen.clearRect(0, 0, width, height);
  const faint = style.getPropertyValue("--faint"),
    plus = style.getPropertyValue("--plus"),
    minus = style.getPropertyValue("--minus");
  const largest = largestIn(slot),
    marked = [];
  for (const [id, x, y, w, h] of geometry(slot, canvas)) {
    const number = shownNumber(id);
    pen.fillStyle = faint;
    pen.fillRect(x, y, w, h);
    if (number && largest) {
      pen.fillStyle = `rgba(${number > 0 ? plus : minus}, ${0.1 + (0.9 * Math.abs(number)) / largest})`;
      pen.fillRect(x, y, w + 0.3, h);
    }
    const before = marked[marked.length - 1];
    if (id === state.chosen) marked.push([x, y, w, h, "--ink", id]);
    else if (lit.has(id) && before && before[4] === "--accent" && before[5] === id - 1 && before[1] === y) {
      before[2] = x + w - before[0];
      before[5] = id;
    } else if (lit.has(id)) marked.push([x, y, w, h, "--accent", id]); // neighbours share a frame
    if (isNew(id)) {
      pen.fillStyle = style.getPropertyValue("--ink");
      pen.fillRect(x, y + h - 2, w + 0.3, 2);
    }
  }
  for (const [x, y, w, h, ink] of marked) {
    pen.strokeStyle = style.getPropertyValue(ink);
    pen.lineWidth = slot.kind === "matrix" ? 1 : 2;
    pen.strokeRect(x + 0.5, y + 0.5, Math.max(w - 1, 1), h - 1);
  }
}
function fill(slot, lit) {
  // the figures of an open slot: made once, then only changed
  const { table } = slotBoxes.get(slot),
    largest = largestIn(slot);
  if (!table.firstChild) {
    const body = make("table");
    slot.rows.forEach(([first, count, start]) => {
      const row = make(
        "tr",
        {},
        make("th", { scope: "row", textContent: start.replace(slot.label, "").replace(/\[$/, "") || slot.label }),
      );
      for (let id = first; id < first + count; id++) row.append(cell(id, largest, lit));
      body.append(row);
    });
    table.append(body);
  } else for (const button of table.querySelectorAll("button")) dress(button, Number(button.dataset.id), largest, lit);
}
function cell(id, largest, lit) {
  const button = make("button", { title: names[id], onclick: () => choose(id) });
  button.dataset.id = id;
  dress(button, id, largest, lit);
  return make("td", {}, button);
}
function dress(button, id, largest, lit) {
  const number = shownNumber(id),
    text = number === undefined ? "·" : plain(number);
  button.tabIndex = -1;
  button.className = (lit.has(id) ? "lit " : "") + (id === state.chosen ? "chosen" : "");
  button.style.background = colour(number, largest);
  if (button.textContent === text) return;
  button.textContent = text;
  button.setAttribute("aria-label", `${names[id]}, ${number === undefined ? "not yet computed" : text}`);
}
// One cell of a table can be reached by Tab; the arrow keys go on from there.
function rove(root) {
  for (const table of root.querySelectorAll("table")) {
    const cells = [...table.querySelectorAll("td > button")];
    const first = cells.find(c => c.classList.contains("chosen")) ?? cells[0];
    if (first) first.tabIndex = 0;
  }
}
document.addEventListener("keydown", event => {
  const button = event.target.closest?.("td > button");
  const moves = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };
  if (!button || !(event.key in moves)) return;
  const [down, right] = moves[event.key],
    row = button.closest("tr"),
    place = [...row.querySelectorAll("td")].indexOf(button.parentElement);
  const rows = [...row.parentElement.children],
    next = rows[rows.indexOf(row) + down];
  const target = next?.querySelectorAll("td > button")[place + right];
  if (!target) return;
  event.preventDefault();
  button.tabIndex = -1;
  target.tabIndex = 0;
  target.focus();
});

// ---------------------------------------------------------------------------------------------------------------------
// Pictures
// ---------------------------------------------------------------------------------------------------------------------
const nothing = new Set();
function drawPicture(lit) {
  const box = $("picture");
  box.hidden = state.tab === "all";
  $("all").hidden = state.tab !== "all";
  const looks = `${state.tab} ${state.time} ${state.tab === "attention" ? state.chosen : ""}`;
  if (state.tab !== "all" && box.dataset.looks !== looks)
    box.replaceChildren(
      ...{ attention: attentionPicture, stream: streamPicture, predictions: predictionsPicture }[state.tab](lit),
    );
  box.dataset.looks = looks;
  rove(box);
}
function attentionPicture(lit) {
  const parts = [
    make("p", {
      textContent:
        "A row is a position that looks, a column a position it looks at. Forward, the figures of a row sum to 1. Click one to ask where it came from.",
    }),
  ];
  for (const slot of slots.filter(slot => slot.label.endsWith("attn_weights") && !slot.absent)) {
    const largest = step().view === "forward" ? 1 : largestIn(slot);
    const table = make(
      "table",
      {},
      make("tr", {}, make("th"), ...trace.where.map(w => make("th", { scope: "col", textContent: w }))),
    );
    slot.rows.forEach(([first, count], r) => {
      const row = make("tr", {}, make("th", { scope: "row", textContent: trace.where[r] }));
      for (let id = first; id < first + count; id++) row.append(cell(id, largest, lit));
      table.append(row);
    });
    parts.push(
      make("div", { className: "picture" }, make("h3", { className: "mono", textContent: slot.label }), table),
    );
  }
  return parts;
}
function streamPicture() {
  const backward = step().view === "backward",
    rows = slots.filter(slot => /(^|\.)x(\.\d+)?$/.test(slot.label) && !slot.absent);
  const length = ([first, count]) => {
    let total = 0;
    for (let id = first; id < first + count; id++) {
      const number = backward ? shownNumber(id) : born[id] < (step().to ?? Infinity) ? values[id] : undefined;
      if (number === undefined) return undefined;
      total += number * number;
    }
    return Math.sqrt(total);
  };
  const lengths = rows.map(slot => slot.rows.map(length)),
    largest = Math.max(...lengths.flat().map(x => x ?? 0));
  const table = make(
    "table",
    {},
    make("tr", {}, make("th"), ...trace.where.map(w => make("th", { scope: "col", textContent: w }))),
  );
  rows.forEach((slot, r) => {
    const name = make("button", {
      textContent: slot.label,
      onclick: () => {
        state.open.add(slot);
        state.lineFilter = null;
        setTab("all");
        show(slotBoxes.get(slot).box, $("numbers"));
      },
    });
    table.append(
      make(
        "tr",
        {},
        make("th", { scope: "row" }, name),
        ...lengths[r].map(x => {
          const box = make("td", { textContent: x === undefined ? "·" : x.toFixed(3) });
          box.style.cssText = `padding:4px 8px;text-align:right;background:linear-gradient(to right, rgba(var(--plus),.35) ${(100 * (x ?? 0)) / largest}%, transparent 0)`;
          return box;
        }),
      ),
    );
  });
  return [
    make("p", {
      textContent: backward
        ? "The gradient that comes back along the residual stream: the length of the vector at each position. Read from the bottom, the last layer, to the top, the embeddings."
        : "The residual stream x, from the embeddings down to the last layer: the length of the vector at each position. A numbered x is one assignment to x in gpt_forward.",
    }),
    make("div", { className: "picture" }, table),
  ];
}
function predictionsPicture() {
  const parts = [
    make("p", {
      textContent:
        "What the model expects after what it has read; the right answer is marked. The bar is the probability, exactly the slope of the position's logsumexp in that logit.",
    }),
  ];
  trace.where.forEach((where, position) => {
    const total = byName.get(`position_loss~logsumexp[${where}]`),
      loss = byName.get(`position_loss[${where}]`);
    if (total === undefined) return;
    if (step().view === "forward" && shownNumber(total) === undefined) {
      parts.push(make("p", { className: "soft", textContent: `At ${where}: not yet computed.` }));
      return;
    }
    const logits = inputsOf(total),
      chances = slopesOf(total),
      right = trace.letters.indexOf(trace.shown[position + 1]);
    const order = logits.map((_, token) => token).sort((a, b) => chances[b] - chances[a]);
    const bar = token => {
      const button = make("button", { textContent: trace.letters[token], onclick: () => choose(logits[token]) });
      button.setAttribute(
        "aria-label",
        `${names[logits[token]]}, probability ${chances[token].toFixed(3)}${token === right ? ", the right answer" : ""}`,
      );
      const stripe = make("i");
      stripe.style.width = (100 * chances[token]) / Math.max(0.2, chances[order[0]]) + "%";
      return make(
        "div",
        token === right ? { className: "answer" } : {},
        button,
        make("span", { textContent: chances[token].toFixed(3) + (token === right ? " ← right" : "") }),
        stripe,
      );
    };
    const first = order.slice(0, 4),
      rest = order.slice(4).filter(token => token !== right);
    if (!first.includes(right)) first.push(right);
    parts.push(
      make(
        "div",
        { className: "picture" },
        make(
          "h3",
          {
            textContent: `After ${trace.shown
              .slice(0, position + 1)
              .map(letter => letter.replace(/^'|'$/g, ""))
              .join(" ")} `,
          },
          lossButton(loss),
        ),
        make("div", { className: "bars" }, ...first.map(bar)),
        make(
          "details",
          {},
          make("summary", { textContent: `the other ${rest.length}` }),
          make("div", { className: "bars" }, ...rest.map(bar)),
        ),
      ),
    );
  });
  return parts;
}
const lossButton = id => make("button", { textContent: `loss ${figures(values[id])}`, onclick: () => choose(id) });

// ---------------------------------------------------------------------------------------------------------------------
// The card of the chosen number
// ---------------------------------------------------------------------------------------------------------------------
function formula(operation, texts, exponent) {
  const half = texts.length / 2;
  if (operation === "add") return texts.join(" + ");
  if (operation === "mul") return texts.join(" * ");
  if (operation === "pow") return `(${texts[0]}) ** ${exponent}`;
  if (operation === "relu") return `max(${texts[0]}, 0.0)`;
  if (operation === "linear")
    return Array.from({ length: half }, (_, k) => `${texts[k]} * ${texts[k + half]}`).join(" + ");
  if (operation === "logsumexp") return `log(${texts.map(text => `exp(${text})`).join(" + ")})`;
  return `${operation}(${texts.join(", ")})`;
}
function brief(slot, texts) {
  // as in the printed report: of more than four terms the first and the last
  const products = slot.operation === "linear",
    terms = products ? texts.length / 2 : texts.length;
  if (terms <= 4) return formula(slot.operation, texts, slot.arguments.exponent);
  const picked = [0, terms - 1].concat(products ? [terms, 2 * terms - 1] : []).map(k => texts[k]);
  const whole = formula(slot.operation, picked, slot.arguments.exponent),
    plus = whole.lastIndexOf(" + ");
  return `${whole.slice(0, plus)} + ... + ${whole.slice(plus + 3)}   (${terms} terms)`;
}
const row = (...cells) =>
  make("tr", {}, ...cells.map(cell => (cell instanceof HTMLTableCellElement ? cell : make("td", {}, cell))));
const n = text => make("td", { className: "n", textContent: text });
function shortList(rows, heads, more) {
  // at most eight rows, the rest behind a click
  const table = make(
    "table",
    { className: "terms" },
    make(
      "tr",
      {},
      ...heads.map(([text, right]) => make("th", { scope: "col", className: right ? "n" : "", textContent: text })),
    ),
    ...rows.slice(0, 8),
  );
  if (rows.length > 8) {
    const button = make("button", { textContent: `show the other ${rows.length - 8}` });
    const tail = make("tr", {}, make("td", { colSpan: heads.length }, button));
    button.onclick = () => tail.replaceWith(...rows.slice(8));
    table.append(tail);
  }
  if (more) table.append(more);
  return table;
}
function drawCard() {
  const pane = $("card"),
    id = state.chosen,
    slot = slotOf[id];
  const parts = [trail(), make("h2", { textContent: names[id], tabIndex: -1 })];
  const list = make("dl");
  const say = (term, ...content) => list.append(make("dt", { textContent: term }), make("dd", {}, ...content));
  if (id >= values.length) {
    parts.push(
      make("p", {
        textContent:
          "This model is too large for one page: the table this number stands in is kept as a summary only. Ask python -m labs.xray --why for it.",
      }),
    );
    pane.replaceChildren(...parts);
    return;
  }
  say("value", make("code", { textContent: String(values[id]) }));
  say(
    "gradient",
    make("code", { textContent: String(gradients[id]) }),
    make("span", { className: "soft", textContent: "  = ∂loss/∂(this)" }),
  );
  const others = trace.aliases.filter(([of]) => of === id).map(([, name]) => name);
  if (others.length) say("also called", make("span", { className: "mono", textContent: others.join(", ") }));
  if (slot.line) {
    say(
      "made by",
      ...linesOf(slot).flatMap((line, k) =>
        [k ? make("span", { textContent: " called from " }) : null, lineLink(line), " "].filter(Boolean),
      ),
      make("div", { className: "mono", textContent: codeOf(slot.model_line) }),
    );
  }
  parts.push(
    list,
    make("p", {
      id: "ends",
      className: "soft",
      textContent: "as it is at the end of the step",
      hidden: state.time === endOf(step().view),
    }),
  );
  if (slot.line) {
    const children = operandsOf(id),
      local = slopesOf(id),
      half = children.length / 2;
    const products = slot.operation === "linear";
    parts.push(
      make(
        "div",
        { className: "formula" },
        make("div", { textContent: `${slot.operation} = ${brief(slot, children.map(written))}` }),
        make("div", {
          textContent: `= ${brief(
            slot,
            children.map(child => figures(values[child])),
          )} = ${figures(values[id])}`,
        }),
      ),
    );
    parts.push(make("h3", { textContent: products ? "Its terms, the largest first" : "Its inputs" }));
    if (products) {
      const order = Array.from({ length: half }, (_, k) => k).sort(
        (a, b) =>
          Math.abs(values[children[b]] * values[children[b + half]] || 0) -
          Math.abs(values[children[a]] * values[children[a + half]] || 0),
      );
      parts.push(
        shortList(
          order.map(k => {
            const a = children[k],
              b = children[k + half];
            return row(
              make("td", {}, link(a), ` ${figures(values[a])} × `, link(b), ` ${figures(values[b])}`),
              n(values[a] === undefined || values[b] === undefined ? "left out" : plain(values[a] * values[b])),
            );
          }),
          [
            ["factors", false],
            ["product", true],
          ],
          sumRow(2, values[id]),
        ),
      );
    } else {
      const order = children.map((_, k) => k);
      if (children.length > 4) order.sort((a, b) => Math.abs(local[b]) - Math.abs(local[a]));
      parts.push(
        shortList(
          order.map(k =>
            row(
              link(children[k]),
              n(figures(values[children[k]])),
              n(unlinked.has(id) ? "no link" : local[k] === undefined ? "left out" : plain(local[k])),
            ),
          ),
          [
            ["input", false],
            ["value", true],
            ["slope in it", true],
          ],
        ),
      );
      if (unlinked.has(id))
        parts.push(
          make("p", {
            id: "silent",
            textContent:
              (slot.operation === "relu" ? "A silent neuron: " : "") +
              `${slot.operation} gave a constant that is linked to nothing, so no gradient goes back.`,
          }),
        );
    }
  }
  if (slot.kind === "matrix") {
    parts.push(make("h3", { textContent: "What Adam made of it" }));
    for (const line of updates) {
      const fillIn = texts => line.formula.replace(/\{(\d+)\}/g, (_, k) => texts[k]);
      const numbers = fillIn(line.operands.map(operand => figures(operand(id)))),
        result = figures(line.result(id));
      parts.push(
        make(
          "div",
          { className: "formula" },
          make("div", { textContent: `${line.name} = ${fillIn(line.symbols)}` }),
          make("div", { textContent: numbers === result ? `= ${result}` : `= ${numbers} = ${result}` }),
        ),
      );
    }
  }
  parts.push(make("h3", { textContent: "Where its gradient came from" }));
  const uses = [...(users.get(id) ?? [])].sort(
    (a, b) => Math.abs(b[1] * gradients[b[0]] || 0) - Math.abs(a[1] * gradients[a[0]] || 0),
  );
  if (id === trace.loss)
    parts.push(make("p", { textContent: "This is the loss. Its slope in itself is 1; backward begins here." }));
  else if (!uses.length && silenced.has(id))
    parts.push(
      make(
        "p",
        {},
        `Only ${slotOf[silenced.get(id)].operation} read it, and gave `,
        link(silenced.get(id)),
        ", a constant that is linked to nothing: so no gradient comes back.",
      ),
    );
  else if (!uses.length)
    parts.push(make("p", { textContent: "Nothing in this step used it, so the loss does not depend on it." }));
  else
    parts.push(
      shortList(
        uses.map(([user, slope]) =>
          row(
            link(user),
            n(slope === undefined ? "left out" : plain(slope)),
            n("× " + plain(gradients[user])),
            n(slope === undefined ? "" : "= " + plain(slope * gradients[user])),
          ),
        ),
        [
          ["used by", false],
          ["slope", true],
          ["its gradient", true],
          ["product", true],
        ],
        sumRow(4, gradients[id]),
      ),
    );
  if (slot.explanation)
    parts.push(make("h3", { textContent: "What the source says" }), make("p", { textContent: slot.explanation }));
  const taught = lecturesFor(slot);
  for (const [title, text] of taught)
    parts.push(
      make(
        "details",
        {},
        make("summary", { textContent: "Lecture: " + title }),
        make("div", { className: "lecture", textContent: text }),
      ),
    );
  pane.replaceChildren(...parts, words(), howToRead());
  pane.scrollTop = 0;
}
function drawWelcome() {
  const item = (...parts) => make("li", {}, ...parts);
  $("card").replaceChildren(
    make("h2", { textContent: "One number at a time" }),
    make("p", {
      textContent:
        "Here will stand the number you choose: its formula with the figures in it, what it was made from, what used it, and what the program says about it.",
    }),
    make(
      "ul",
      {},
      item("Begin with one of the questions above, or click any colour."),
      item("Every blue name is a number too: follow it, and come back with ← Back."),
      item("Click a line of the source to see only the numbers it made."),
      item("Drag the slider to see them appear, line by line."),
    ),
    words(true),
    howToRead(),
  );
}
function words(open = false) {
  const list = make("dl");
  for (const [word, meaning] of [
    ["token", "a letter, as a number; BOS is the one that marks both ends of a name"],
    ["position", "how many tokens stand before this one"],
    ["parameter", "a number the model has learned, or will learn: it is the same at every position"],
    ["residual stream", "x: the vector that each position carries through the layers, and to which each layer adds"],
    ["head", "a part of attention: it lets a position look at itself and those before it"],
    ["logit", "the score of one possible next token, before all scores are turned into probabilities"],
    [
      "loss",
      `-ln of the probability of the right token: 0 if it was sure, ln ${trace.letters.length} = ${Math.log(trace.letters.length).toFixed(2)} if all ${trace.letters.length} were equally likely; the mean over the positions`,
    ],
    ["slope", "how many times as much a result changes as one of its inputs"],
    ["gradient", "the slope of the loss in this number: what backward works out"],
    ["Adam", "the rule that turns gradients into small changes of the parameters"],
  ])
    list.append(make("dt", { textContent: word }), make("dd", { textContent: meaning }));
  return make("details", { open }, make("summary", { textContent: "Words" }), list);
}
function howToRead() {
  const example = (name, text) => [
    make("dt", { className: "mono", textContent: name }),
    make("dd", { textContent: text }),
  ];
  return make(
    "details",
    {},
    make("summary", { textContent: "How to read a name" }),
    make(
      "dl",
      {},
      ...example(
        "q[3 'm'][5]",
        "what the variable q held at position 3, where the letter is m: its number 5, counted from 0",
      ),
      ...example("layer0.head2.", "inside the loops of the source: layer 0, head 2"),
      ...example("[3 'm' -> 1 'e']", "position 3 looks at position 1"),
      ...example("x.1, x.2", "the first and the second line of the function that assign x"),
      ...example(
        "x.2~linear",
        "inside the line that makes x.2: what linear gave, before it was added to x; ~mul and ~add are plain arithmetic",
      ),
      ...example("normed.scale", "scale, a variable of the helper that the line for normed called"),
    ),
  );
}
function sumRow(columns, total) {
  const sum = row(make("td", { colSpan: columns - 1, textContent: "sum" }), n(plain(total)));
  sum.className = "sum";
  return sum;
}
function codeOf(line) {
  for (const fn of trace.source.functions)
    for (const [number, text] of fn.lines) if (number === line) return text.trim().replace(/\s+# .*/, "");
  return "";
}
function lecturesFor(slot) {
  // of the operation, and of the helper the line stands in
  const at = [slot.made_at, slot.line].filter(Boolean),
    found = [];
  for (const fn of trace.source.functions)
    if (fn.lines.some(([line]) => at.includes(line)) && fn.name !== "gpt_forward") found.push(...fn.lectures);
  return found;
}
function trail() {
  const nav = make("nav", { id: "trail" });
  nav.setAttribute("aria-label", "Trail");
  if (state.at > 0) {
    const back = make("button", { id: "back", textContent: "← Back" });
    back.onclick = () => history.back();
    nav.append(back, " ");
    state.trail.slice(Math.max(0, state.at - 4), state.at).forEach(id => nav.append(link(id), " › "));
    nav.append(make("span", { className: "soft", textContent: "here" }));
  } else
    nav.append(
      make("span", { className: "soft", textContent: "Follow a blue name, and the way you came will stand here." }),
    );
  return nav;
}

// ---------------------------------------------------------------------------------------------------------------------
// Doing things
// ---------------------------------------------------------------------------------------------------------------------
function choose(id, remember = "pushState") {
  // remember: how the browser's history is told, or null
  state.chosen = id;
  if (step().view === "update" && !isParameter(id)) state.time = endOf("forward"); // Adam has nothing to say of it
  if (remember && state.trail[state.at] !== id) {
    state.trail = [...state.trail.slice(0, state.at + 1), id];
    state.at++;
    history[state.at ? remember : "replaceState"]({ at: state.at }, "", "#" + encodeURIComponent(names[id]));
  }
  if (state.lineFilter !== null && !slotsOfLine(state.lineFilter).includes(slotOf[id])) state.lineFilter = null;
  front("card");
  refresh();
  const here = slotBoxes.get(slotOf[id]);
  if (here && state.tab === "all") show(here.box, $("numbers"));
  const cellHere = here?.table?.querySelector(`[data-id="${id}"]`);
  if (cellHere) {
    here.table.scrollLeft +=
      cellHere.getBoundingClientRect().left - here.table.getBoundingClientRect().left - here.table.clientWidth / 2;
    here.table.scrollTop +=
      cellHere.getBoundingClientRect().top - here.table.getBoundingClientRect().top - here.table.clientHeight / 2;
  }
  if (slotOf[id].model_line) showLine(slotOf[id].model_line);
  if (document.activeElement === document.body)
    // what was clicked has been drawn anew: stay on it, or go to the card
    ($("picture").querySelector(`[data-id="${id}"]`) ?? document.querySelector("#card h2"))?.focus({
      preventScroll: true,
    });
  $("spoken").textContent = `${names[id]}, value ${plain(values[id])}, gradient ${plain(gradients[id])}`;
}
function asked() {
  // the number that the address names after its #
  try {
    return find(decodeURIComponent(location.hash.slice(1)));
  } catch {
    return undefined;
  }
}
window.onpopstate = event => {
  // Back, Forward, or an address that was edited
  const known = event.state && state.trail[event.state.at],
    id = asked();
  if (known !== null && known !== undefined && known === id) {
    state.at = event.state.at;
    choose(id, null);
  } else if (id !== undefined) choose(id, "replaceState");
};
function chooseLine(line) {
  const update = steps.findIndex(step => step.view === "update" && step.line === line);
  if (update >= 0) {
    state.time = update;
    state.lineFilter = null;
    state.tab = "all";
    front("numbers");
    refresh();
    return;
  }
  state.lineFilter = line;
  state.tab = "all";
  if (step().view === "update") state.time = endOf("forward");
  const made = slotsOfLine(line);
  state.open = new Set(made.length <= 3 ? made : []);
  front("numbers");
  refresh();
  showLine(line);
  $("numbers").scrollTop = 0;
  $("spoken").textContent = `line ${line} made ${made.map(slot => slot.label).join(", ")}`;
}
function setView(view) {
  if (playing) play();
  state.time = endOf(view);
  if (view === "update") state.tab = "all";
  refresh();
}
function go(time) {
  state.time = Math.max(0, Math.min(steps.length - 1, time));
  refresh(true);
}
function front(pane) {
  for (const section of document.querySelectorAll("main > section"))
    section.classList.toggle("front", section.id === pane);
  for (const tab of document.querySelectorAll("#panes button"))
    tab.setAttribute("aria-pressed", tab.dataset.pane === pane);
}
// Scrolls a pane until the element is in sight, and moves nothing else: scrollIntoView would also move where Tab goes on.
function show(element, pane, margin = 90) {
  const frame = pane.getBoundingClientRect(),
    place = element.getBoundingClientRect();
  if (place.top < frame.top + margin || place.bottom > frame.bottom - 40)
    pane.scrollTop += place.top - frame.top - Math.max(margin, frame.height / 2 - place.height / 2);
}
const showLine = line => show(lineButtons.get(line), $("source"));
let playing = null;
function play() {
  if (playing) {
    clearInterval(playing);
    playing = null;
    $("play").textContent = "Play";
    $("said").removeAttribute("aria-live");
    return;
  }
  if (state.time === endOf("forward") || state.time === steps.length - 1) state.time = 0;
  $("play").textContent = "Pause";
  $("said").setAttribute("aria-live", "off");
  playing = setInterval(() => {
    let next = state.time + 1; // lines that make no number are passed over
    while (
      next < steps.length - 1 &&
      steps[next].view === "forward" &&
      steps[next].to === steps[next].from &&
      next !== endOf("forward")
    )
      next++;
    go(next);
    if (state.time === steps.length - 1) play();
  }, 220);
}

function refresh(stepping = false) {
  const now = step(),
    lit = new Set(state.chosen === null ? [] : inputsOf(state.chosen)),
    litIn = new Map(),
    ofLine = state.lineFilter === null ? null : new Set(slotsOfLine(state.lineFilter));
  for (const id of lit) litIn.set(slotOf[id], (litIn.get(slotOf[id]) ?? "") + " " + id);
  for (const tab of document.querySelectorAll("[data-view]"))
    tab.setAttribute("aria-pressed", tab.dataset.view === now.view);
  for (const tab of document.querySelectorAll("[data-tab]"))
    tab.setAttribute("aria-pressed", tab.dataset.tab === state.tab);
  $("inner").setAttribute("aria-pressed", state.inner);
  $("legend").hidden = state.tab !== "all";
  $("time").value = state.time;
  const what = { forward: "runs", backward: "backward reaches", update: "updates every parameter in" }[now.view];
  const text =
    state.time === endOf("forward")
      ? "The forward pass is complete: every value is there. Drag the slider, or press Play, to see the step line by line."
      : state.time === endOf("backward")
        ? "Backward is complete: every gradient is there."
        : state.time === endOf("update")
          ? "The step is complete. Colours show how far each parameter moved."
          : `${what} line ${now.line}${now.label ? ` (${now.label})` : ""}: ${codeOf(now.line)}`;
  $("said").textContent = text;
  $("time").setAttribute("aria-valuetext", text);

  for (const [line, button] of lineButtons) {
    button.classList.toggle("now", state.time !== endOf("forward") && line === now.line);
    button.classList.toggle(
      "chosen",
      line === state.lineFilter || (state.chosen !== null && line === slotOf[state.chosen].model_line),
    );
  }
  if (stepping) showLine(now.line);

  const filter = $("filter");
  filter.hidden = !ofLine || state.tab !== "all";
  if (ofLine) {
    const all = make("button", { textContent: "show all" });
    all.onclick = () => {
      state.lineFilter = null;
      state.open.clear();
      refresh();
    };
    filter.replaceChildren(
      make("strong", { textContent: `Made by line ${state.lineFilter}` }),
      all,
      make("code", { textContent: codeOf(state.lineFilter) }),
    );
  }
  for (const heading of $("all").querySelectorAll("h3, .layer"))
    heading.hidden = !!ofLine || (now.view === "update" && heading.className === "layer mono");
  $("heads").hidden = now.view === "update";
  drawPicture(lit);
  if (state.tab === "all") {
    const visible = [];
    for (const [slot, { box, canvas, table, label }] of slotBoxes) {
      const holds = litIn.has(slot),
        own = state.chosen !== null && slotOf[state.chosen] === slot,
        open = state.open.has(slot) || own;
      box.hidden = !(now.view === "update"
        ? slot.kind === "matrix"
        : ofLine
          ? ofLine.has(slot)
          : slot.kind !== "inner" || state.inner || holds || open);
      box.classList.toggle("lit", holds);
      box.classList.toggle("open", open);
      label.setAttribute("aria-expanded", open);
      if (canvas) table.hidden = !open;
      if (canvas && !box.hidden) visible.push({ slot, canvas, own, open });
    }
    // Measured all at once, and drawn again only where something has changed, so that a click is answered at once.
    for (const one of visible)
      one.looks = `${state.time} ${one.canvas.clientWidth} ${dark.matches} ${litIn.get(one.slot) ?? ""} ${one.own && state.chosen}`;
    for (const { slot, open, looks } of visible) {
      if (slot.painted !== looks) paint(slot, lit);
      if (open && slot.filled !== looks) {
        const large = slot.rows.length * slot.rows[0][1] > 800;
        if (slot.filled && large)
          setTimeout(() => fill(slot, lit)); // the figures of a large table may follow the picture
        else fill(slot, lit);
      }
      slot.painted = looks;
      if (open) slot.filled = looks;
    }
    rove($("all"));
  }
  if (!stepping && state.chosen !== null) drawCard();
  if (stepping && $("ends")) $("ends").hidden = state.time === endOf(now.view);
}

// ---------------------------------------------------------------------------------------------------------------------
// Starting
// ---------------------------------------------------------------------------------------------------------------------
$("title").textContent = `X-ray: one training step on “${trace.document}”`;
document.title = $("title").textContent;
const leftOut = slots.filter(slot => slot.absent);
const count = n => n.toLocaleString("en");
const whole = count(names.length - constants.rows[0][1]);
$("lead").textContent =
  `A tiny GPT reads “${trace.document}” letter by letter, is told at each what would have come next, and changes its ` +
  "weights a little. " +
  (leftOut.length
    ? `That takes ${whole} numbers, too many for one page: of ${leftOut.length} tables it keeps a summary, and all the others are `
    : `All ${whole} numbers of that step are `) +
  "here, with the line of Python that made each. Click a line, or a number, and ask where it came from.";
const worst = trace.where
  .map(where => byName.get(`position_loss[${where}]`))
  .reduce((a, b) => (values[b] > values[a] ? b : a));
const worstAt = trace.where.findIndex(where => byName.get(`position_loss[${where}]`) === worst);
const weight = slots
  .filter(slot => slot.kind === "matrix" && !slot.absent)
  .flatMap(slot => slot.rows)
  .flatMap(([first, count]) => Array.from({ length: count }, (_, k) => first + k))
  .reduce((a, b) => (a === null || Math.abs(gradients[b]) > Math.abs(gradients[a]) ? b : a), null);
for (const [text, act] of [
  [`Where does the loss ${figures(values[trace.loss])} come from?`, () => choose(trace.loss)],
  ...(worst === undefined
    ? []
    : [[`Why did ${trace.shown[worstAt + 1]} after ${trace.shown[worstAt]} cost most?`, () => choose(worst)]]),
  [
    "Who looks at whom?",
    () => {
      front("numbers");
      setTab("attention");
    },
  ],
  ...(weight === null
    ? []
    : [[`Which ${leftOut.length ? "weight on this page" : "weight"} has the largest gradient?`, () => choose(weight)]]),
])
  $("start").append(make("button", { textContent: text, onclick: act }));

drawSource();
drawAll();
$("time").max = steps.length - 1;
$("time").oninput = event => go(Number(event.target.value));
$("back1").onclick = () => go(state.time - 1);
$("on1").onclick = () => go(state.time + 1);
$("play").onclick = play;
for (const tab of document.querySelectorAll("[data-view]")) tab.onclick = () => setView(tab.dataset.view);
function setTab(tab) {
  state.tab = tab;
  if (tab !== "all" && step().view === "update") state.time = endOf("forward"); // the pictures are of what was computed
  refresh();
}
for (const tab of document.querySelectorAll("[data-tab]")) tab.onclick = () => setTab(tab.dataset.tab);
for (const tab of document.querySelectorAll("[data-pane]"))
  tab.onclick = () => {
    front(tab.dataset.pane);
    refresh();
  };
$("name").oninput = () => {
  const wanted = bare($("name").value).toLowerCase();
  const rank = k => {
    // first whole names, then what it is the beginning of; variables before inner steps, short before long
    const at = bareNames[k].indexOf(wanted),
      whole = at + wanted.length === bareNames[k].length;
    return (
      (at === 0 || bareNames[k][at - 1] === "." ? (whole ? 0 : 1000) : 2000) +
      (slotOf[called[k][0]].kind === "inner" ? 500 : 0) +
      bareNames[k].length
    );
  };
  const found = called
    .map((_, k) => k)
    .filter(k => wanted && slotOf[called[k][0]] !== constants && bareNames[k].includes(wanted))
    .sort((a, b) => rank(a) - rank(b))
    .slice(0, 8)
    .map(k => called[k]);
  $("found").hidden = !wanted;
  $("found").replaceChildren(
    ...found.map(([id, name]) =>
      make("button", {
        className: "mono",
        textContent: name,
        onclick: () => {
          $("found").hidden = true;
          choose(id);
        },
      }),
    ),
  );
  if (wanted && !found.length) $("found").replaceChildren(make("span", { textContent: "no number is called that" }));
};
$("name").onkeydown = event => {
  if (event.key === "Enter") $("found").querySelector("button")?.click();
};
$("find").onkeydown = event => {
  if (event.key === "Escape") {
    $("found").hidden = true;
    $("name").focus();
  }
};
document.addEventListener("click", event => {
  if (!event.target.closest("#find")) $("found").hidden = true;
});
new ResizeObserver(() => refresh(true)).observe($("numbers"));
dark.addEventListener("change", () => refresh(true));
front("numbers");
if (asked() !== undefined) choose(asked());
else {
  refresh();
  drawWelcome();
}
