// What moves on the page of `chargen inspect --memory`. MEMORY is the data, written before this.
const LEVELS = 127; // of a signed byte, to either side of zero
const SHOWN = { "\n": "⏎\n", "\r": "␍", "\t": "\t" };

const box = byId("text");
const text = Array.from(MEMORY.text);
const view = { layer: 1, part: MEMORY.part, unit: 1, char: 1, ...MEMORY.first };
const shares = new Uint16Array(bytes(MEMORY.next.shares).buffer);
const likeliest = Array.from(MEMORY.next.characters);
const K = likeliest.length / text.length;

const spans = text.map((char) => {
  const span = document.createElement("span");
  span.textContent = SHOWN[char] || spelled(char);
  return span;
});
box.append(...spans);

const decoded = new Map(); // by layer and part, when first looked at: H times T signed bytes
function unitValues() {
  const name = `${view.layer} ${view.part}`;
  const coded = MEMORY.layers[view.layer - 1].parts[view.part].values;
  if (!decoded.has(name)) decoded.set(name, new Int8Array(bytes(coded).buffer));
  const start = (view.unit - 1) * text.length;
  return decoded.get(name).subarray(start, start + text.length);
}
const units = () => MEMORY.layers[view.layer - 1].units;
const range = () => MEMORY.layers[view.layer - 1].parts[view.part].ranges[view.unit - 1];
const signed = () => MEMORY.parts[view.part].signed;

function paint() {
  unitValues().forEach((level, place) => {
    spans[place].style.backgroundColor = colour(level, LEVELS);
  });
}

function tell(place) {
  const value = (unitValues()[place] / LEVELS) * range();
  byId("character").textContent = named(text[place]);
  byId("place").textContent = `character ${place + 1} of ${text.length}`;
  byId("value").textContent = number(value);
  const items = [];
  for (let k = place * K; k < (place + 1) * K; k++) {
    const item = document.createElement("li");
    const char = document.createElement("b");
    char.textContent = named(likeliest[k]);
    const share = (100 * shares[k]) / 65535;
    item.style.setProperty("--share", `${share}%`);
    item.append(char, ` ${share < 9.95 ? share.toFixed(1) : share.toFixed(0)} %`);
    items.push(item);
  }
  byId("next").replaceChildren(...items);
}

function mark() {
  box.querySelector(".at")?.classList.remove("at");
  spans[view.char - 1].classList.add("at");
  tell(view.char - 1);
}

function show() {
  paint();
  const part = MEMORY.parts[view.part];
  byId("layer").value = view.layer;
  byId("part").value = view.part;
  byId("unit").value = view.unit;
  byId("unit").max = units();
  byId("of").textContent = `of ${units()}`;
  byId("means").textContent = `${part.name}: ${part.means}`;
  const own = `layer=${view.layer}&part=${view.part}&unit=${view.unit}`;
  const follows = [];
  for (const link of document.querySelectorAll("#followers a")) {
    const here = link.hash.slice(1) === own;
    link.removeAttribute("aria-current");
    if (!here) continue;
    link.setAttribute("aria-current", "true");
    follows.push(link.dataset.follows);
  }
  const place = `Layer ${view.layer}, ${part.name}, unit ${view.unit} of ${units()}`;
  byId("now").textContent = [place, ...follows].join("; ") + ".";
  byId("scale").classList.toggle("signed", signed());
  byId("least").textContent = signed() ? number(-range()) : "0 shut";
  byId("zero").textContent = signed() ? "0" : "";
  byId("most").textContent = signed() ? `+${number(range())}` : "1 open";
  mark();
  remember();
}

function remember() {
  const own = `#layer=${view.layer}&part=${view.part}&unit=${view.unit}&char=${view.char}`;
  history.replaceState(null, "", own);
}

const within = (value, most) => Math.min(Math.max(Math.round(value) || 1, 1), most);
const round = (value, most) => ((value - 1 + most) % most) + 1;

function change(asked) {
  Object.assign(view, asked);
  view.layer = within(view.layer, MEMORY.layers.length);
  view.part = Object.hasOwn(MEMORY.parts, view.part) ? view.part : MEMORY.part;
  view.unit = within(view.unit, units());
  view.char = within(view.char, text.length);
  show();
}

function moveTo(char) {
  view.char = within(char, text.length);
  mark();
  spans[view.char - 1].scrollIntoView({ block: "nearest" });
  remember();
}

const stepUnit = (by) => change({ unit: round(view.unit + by, units()) });
const stepLayer = (by) => change({ layer: round(view.layer + by, MEMORY.layers.length) });

function fromHash() {
  const asked = Object.fromEntries(new URLSearchParams(location.hash.slice(1)));
  for (const name of ["layer", "unit", "char"]) if (name in asked) asked[name] = +asked[name];
  change(asked);
}

byId("layer").addEventListener("change", (event) => change({ layer: +event.target.value }));
byId("part").addEventListener("change", (event) => change({ part: event.target.value }));
byId("unit").addEventListener("change", (event) => change({ unit: +event.target.value }));
byId("previous").addEventListener("click", () => stepUnit(-1));
byId("following").addEventListener("click", () => stepUnit(1));
byId("followers")?.addEventListener("click", (event) => {
  if (event.target.closest("a")) byId("look").scrollIntoView();
});
box.addEventListener("click", (event) => {
  if (event.target !== box) moveTo(spans.indexOf(event.target) + 1);
});
box.addEventListener("pointerover", (event) => {
  if (event.target !== box) tell(spans.indexOf(event.target));
});
box.addEventListener("pointerleave", () => tell(view.char - 1));
document.addEventListener("keydown", (event) => {
  const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  const upDown = { ArrowUp: -1, ArrowDown: 1 }[event.key];
  if (event.altKey || event.ctrlKey || event.metaKey) return;
  if (event.target === box) {
    const ends = { Home: 1, End: text.length }[event.key];
    if (upDown) stepUnit(upDown);
    else if (by && !event.shiftKey) moveTo(view.char + by);
    else if (ends) moveTo(ends);
    else return;
  } else if (by && !event.target.closest("input, select, .scroll")) {
    if (event.shiftKey) stepLayer(by);
    else stepUnit(by);
  } else return;
  event.preventDefault();
});
addEventListener("hashchange", fromHash);
fromHash();
