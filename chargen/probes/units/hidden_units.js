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
  for (const link of document.querySelectorAll("#ranked a")) {
    link.removeAttribute("aria-current");
    if (link.hash.slice(1) !== own) continue;
    link.setAttribute("aria-current", "true");
    scores.push(link.dataset.score);
  }
  const units = source.units[view.layer];
  const place = `Layer ${view.layer + 1}, ${MEMORY.parts[view.part].name}, unit ${view.unit + 1} of ${units}`;
  byId("now").textContent = [place, ...scores].join("; ") + ".";
  drawMap();
  remember();
}

// The overview: a row of pixels per unit, a column per character, each row in the colors of its
// unit's scale.
const map = byId("map");
let drawn = "";
function drawMap() {
  const [H, T] = [source.units[view.layer], text.length];
  byId("row").style.top = `${(100 * view.unit) / H}%`;
  byId("row").style.height = `${100 / H}%`;
  if (drawn === `${view.layer} ${view.part}`) return;
  drawn = `${view.layer} ${view.part}`;
  const style = getComputedStyle(document.body);
  const rgb = (name) => style.getPropertyValue(name).trim().split(" ").map(Number);
  const [low, high] = [rgb("--low"), rgb("--high")];
  const palette = new Uint8ClampedArray(4 * 256);
  for (let byte = 0; byte < 256; byte++) {
    const level = byte < 128 ? byte : byte - 256;
    palette.set([...(level < 0 ? low : high), 2 * Math.abs(level)], 4 * byte);
  }
  const image = new ImageData(T, H);
  const [colors, pixels] = [palette, image.data].map((one) => new Uint32Array(one.buffer));
  levels().forEach((level, place) => (pixels[place] = colors[level & 255]));
  [map.width, map.height] = [T, H];
  map.getContext("2d").putImageData(image, 0, 0);
  map.style.height = `${Math.min(Math.max(2 * H, 120), 320)}px`;
  map.style.imageRendering = T < map.clientWidth ? "pixelated" : "auto";
  byId("last").textContent = `character ${T}`;
  byId("bottom").textContent = H;
}

function spotted(event) {
  const frame = map.getBoundingClientRect();
  const unit = ((event.clientY - frame.top) / frame.height) * source.units[view.layer] - 0.5;
  const at = ((event.clientX - frame.left) / frame.width) * text.length - 0.5;
  return { unit: within(unit, source.units[view.layer]), at: within(at, text.length) };
}

map.addEventListener("click", (event) => {
  const { unit, at } = spotted(event);
  change({ unit });
  moveTo(at);
  byId("look").scrollIntoView({ block: "nearest" });
});
map.addEventListener("pointermove", (event) => {
  const { unit, at } = spotted(event);
  byId("spot").textContent = `unit ${unit + 1}, ${named(text[at])}`;
});
map.addEventListener("pointerleave", () => (byId("spot").textContent = "click to zoom"));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  drawn = "";
  drawMap();
});

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

byId("ranked")?.addEventListener("click", (event) => {
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
