// Text colored by the value of one hidden unit at each character, and the controls that select the
// unit. The page defines `source`:
//   units        number of hidden units of each layer
//   parts        {h: {name, means, signed}, …} of a layer
//   value(at)    value of the selected unit after the character `at`
//   range()      the value of full color; null for a scale that grows with the values
//   describe(at) shows details of a character; clear() removes them
//   selected(), moved(at)   called after another unit, or character, was selected
const NAMES = { " ": "space", "\n": "newline", "\r": "carriage return", "\t": "tab" };
const SHOWN = { "\r": "␍", "\t": "\t", "\n": "\n" };
// Control characters, separators and changes of direction are escaped.
const ACTING = /[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]/;
const escaped = (char) =>
  ACTING.test(char) ? `\\u${char.charCodeAt(0).toString(16).padStart(4, "0")}` : char;
const named = (char) => NAMES[char] || escaped(char);
const number = (value) => value.toFixed(2).replace("-", "−");
const byId = (id) => document.getElementById(id);
const bytes = (coded) => Uint8Array.from(atob(coded), (char) => char.charCodeAt(0));

const box = byId("text");
const spans = []; // one per character
const view = { layer: 0, part: "h", unit: 0, at: -1 }; // the selected unit and character
let full = 1; // the value of full color

// Each line is an element of its own: the browser lays out the last line alone as text is added.
function newLine() {
  const line = document.createElement("span");
  line.className = "line";
  return box.appendChild(line);
}

function append(chars, isPrompt = () => false) {
  let from = spans.length;
  let line = box.lastElementChild ?? newLine();
  for (const char of chars) {
    const span = document.createElement("span");
    span.textContent = SHOWN[char] || escaped(char);
    if (char === "\n") span.className = "end";
    if (isPrompt(spans.length)) span.classList.add("prompt");
    spans.push(span);
    line.append(span);
    if (char === "\n") line = newLine();
  }
  while (!paint(from)) from = 0;
}

function clearText() {
  spans.length = 0;
  full = 1;
  view.at = -1;
  box.replaceChildren();
  showScale();
  source.clear();
}

// Returns false if a value exceeded the scale, which has then grown: all characters need painting.
function paint(from) {
  for (let at = from; at < spans.length; at++) {
    const value = view.part === "" ? 0 : source.value(at);
    if (Math.abs(value) > full) {
      full = 2 ** Math.ceil(Math.log2(Math.abs(value)));
      showScale();
      return false;
    }
    const color = `rgb(var(${value < 0 ? "--low" : "--high"}) / ${Math.abs(value) / full})`;
    spans[at].style.backgroundColor = view.part === "" ? "" : color;
  }
  return true;
}

function showScale() {
  const signed = source.parts[view.part]?.signed ?? true;
  byId("scale").classList.toggle("signed", signed);
  byId("least").textContent = signed ? number(-full) : "0 closed";
  byId("zero").textContent = signed ? "0" : "";
  byId("most").textContent = signed ? `+${number(full)}` : "1 open";
}

function showUnit() {
  const part = source.parts[view.part];
  const units = source.units[view.layer];
  byId("scale").hidden = !part;
  for (const id of ["unit", "previous", "following"]) byId(id).disabled = !part;
  byId("layer").value = view.layer + 1;
  byId("part").value = view.part;
  byId("unit").value = view.unit + 1;
  byId("unit").max = units;
  byId("of").textContent = `of ${units}`;
  byId("means").textContent = part ? `${part.name}: ${part.means}` : "";
  full = (part && source.range()) ?? 1;
  showScale();
  while (!paint(0));
  if (view.at >= 0) source.describe(view.at);
  source.selected();
}

const within = (value, count) => Math.min(Math.max(Math.round(value) || 0, 0), count - 1);

function change(wanted) {
  Object.assign(view, wanted);
  view.layer = within(view.layer, source.units.length);
  view.unit = within(view.unit, source.units[view.layer]);
  showUnit();
}

function stepUnit(by) {
  const units = source.units[view.layer];
  if (view.part !== "") change({ unit: (view.unit + by + units) % units });
}

function moveTo(at) {
  if (!spans.length) return;
  spans[view.at]?.classList.remove("at");
  view.at = within(at, spans.length);
  spans[view.at].classList.add("at");
  spans[view.at].scrollIntoView({ block: "nearest" });
  source.describe(view.at);
  source.moved(view.at);
}

byId("layer").addEventListener("change", (event) => change({ layer: event.target.value - 1 }));
byId("part").addEventListener("change", (event) => change({ part: event.target.value }));
byId("unit").addEventListener("change", (event) => change({ unit: event.target.value - 1 }));
byId("previous").addEventListener("click", () => stepUnit(-1));
byId("following").addEventListener("click", () => stepUnit(1));
box.addEventListener("click", (event) => {
  if (spans.includes(event.target)) moveTo(spans.indexOf(event.target));
});
box.addEventListener("pointerover", (event) => {
  if (spans.includes(event.target)) source.describe(spans.indexOf(event.target));
});
box.addEventListener("pointerleave", () =>
  view.at < 0 ? source.clear() : source.describe(view.at),
);
box.addEventListener("keydown", (event) => {
  if (event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return;
  const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  const unit = { ArrowUp: -1, ArrowDown: 1 }[event.key];
  if (by) moveTo(view.at + by);
  else if (unit) stepUnit(unit);
  else if (event.key === "Home") moveTo(0);
  else if (event.key === "End") moveTo(spans.length - 1);
  else return;
  event.preventDefault();
});
