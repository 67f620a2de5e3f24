// The page of `chargen inspect --memory`. MEMORY holds the values of every unit, rounded to bytes.
const LEVELS = 127;

const text = Array.from(MEMORY.text);
const shares = new Uint16Array(bytes(MEMORY.next.shares).buffer);
const likeliest = Array.from(MEMORY.next.characters);
const K = likeliest.length / text.length;

const decoded = new Map(); // by layer and part: H times T signed bytes
function levels() {
  const name = `${view.layer} ${view.part}`;
  const coded = MEMORY.layers[view.layer].parts[view.part].values;
  if (!decoded.has(name)) decoded.set(name, new Int8Array(bytes(coded).buffer));
  return decoded.get(name);
}
const range = () => MEMORY.layers[view.layer].parts[view.part].ranges[view.unit];

const source = {
  units: MEMORY.layers.map((layer) => layer.units),
  parts: MEMORY.parts,
  value: (at) => (levels()[view.unit * text.length + at] / LEVELS) * range(),
  range,
  describe,
  clear: () => {},
  selected,
  moved: remember,
};

function describe(at) {
  byId("character").textContent = named(text[at]);
  byId("place").textContent = `character ${at + 1} of ${text.length}`;
  byId("value").textContent = number(source.value(at));
  const items = [];
  for (let k = at * K; k < (at + 1) * K; k++) {
    const item = document.createElement("li");
    const char = document.createElement("b");
    char.textContent = named(likeliest[k]);
    const share = (100 * shares[k]) / 65535;
    item.style.setProperty("--share", `${share}%`);
    item.append(char, ` ${share < 9.95 ? share.toFixed(1) : share.toFixed(0)}%`);
    items.push(item);
  }
  byId("next").replaceChildren(...items);
}

function selected() {
  const own = `layer=${view.layer + 1}&part=${view.part}&unit=${view.unit + 1}`;
  const scores = [];
  for (const link of document.querySelectorAll("#followers a")) {
    link.removeAttribute("aria-current");
    if (link.hash.slice(1) !== own) continue;
    link.setAttribute("aria-current", "true");
    scores.push(link.dataset.score);
  }
  const units = source.units[view.layer];
  const place = `Layer ${view.layer + 1}, ${MEMORY.parts[view.part].name}, unit ${view.unit + 1} of ${units}`;
  byId("now").textContent = [place, ...scores].join("; ") + ".";
  remember();
}

function remember() {
  const place = `layer=${view.layer + 1}&part=${view.part}&unit=${view.unit + 1}`;
  history.replaceState(null, "", `#${place}&char=${view.at + 1}`);
}

function fromHash() {
  const wanted = Object.fromEntries(new URLSearchParams(location.hash.slice(1)));
  const count = (name) => (name in wanted ? wanted[name] - 1 : view[name]);
  change({
    layer: count("layer"),
    part: Object.hasOwn(MEMORY.parts, wanted.part) ? wanted.part : view.part,
    unit: count("unit"),
  });
  moveTo("char" in wanted ? wanted.char - 1 : view.at);
}

byId("followers")?.addEventListener("click", (event) => {
  if (event.target.closest("a")) byId("look").scrollIntoView();
});
document.addEventListener("keydown", (event) => {
  const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  if (!by || event.altKey || event.ctrlKey || event.metaKey) return;
  if (event.target === box || event.target.closest("input, select, .scroll")) return;
  const layers = source.units.length;
  if (event.shiftKey) change({ layer: (view.layer + by + layers) % layers });
  else stepUnit(by);
  event.preventDefault();
});
addEventListener("hashchange", fromHash);
Object.assign(view, { part: MEMORY.part, at: 0 }, MEMORY.first);
append(text);
fromHash();
