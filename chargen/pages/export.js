// The exported page: generates text and shows the predictions at each character. MODEL holds the
// network. Text, hidden units and colors are those of colored_text.js.
const BLOCK = 256; // states per array
const FRAME = 24; // minimum milliseconds of generation per frame
const SHARE = 6; // maximum ratio of generation to layout and painting in a frame
const LONGEST = 300; // maximum milliseconds of generation per frame
const SPEEDS = { slow: 6, read: 30, once: Infinity }; // characters per second
const LIKELIEST = 8; // predictions shown

const network = new Network(MODEL);
const MOST = Math.floor(Math.min(20000, 2 ** 24 / network.state.length)); // characters
const characters = Array.from(MODEL.characters);
const ids = new Map(characters.map((char, id) => [char, id]));
// The prompt and the text: ids, the temperature of each character (NaN in the prompt), and the
// state of the network before the first character and after each.
let sequence = empty();
let generation = null; // the generation in progress
let rest = 0; // characters that a pause left

function empty() {
  return { prompt: [], ids: [], temperatures: [], states: [], random: null };
}

function keepState(count) {
  const S = network.state.length;
  if (count % BLOCK === 0) sequence.states.push(new Float32Array(BLOCK * S));
  stateAt(count).set(network.state);
}
function stateAt(count) {
  const S = network.state.length;
  return sequence.states[Math.floor(count / BLOCK)].subarray((count % BLOCK) * S).subarray(0, S);
}

const source = {
  units: network.units,
  parts: MODEL.labels,
  value: (at) => stateAt(at + 1)[network.place(view.layer, view.part) + view.unit],
  range: () => null,
  describe,
  clear: describeNothing,
  selected: () => {},
  moved: announce,
};

// predictions

const percent = (share) => {
  const hundredths = 100 * share;
  if (hundredths > 0 && hundredths < 0.005) return "< 0.01%";
  return `${hundredths.toFixed(hundredths < 9.95 ? 2 : 1)}%`;
};

function predictionAt(place) {
  if (place === 0 && sequence.prompt.length) return null;
  const logits = network.predictedFrom(stateAt(place));
  const temperature = sequence.temperatures[place];
  const shares = sharesOf(logits, network.V, 1);
  const drawn = Number.isNaN(temperature) ? null : sharesOf(logits, network.V, temperature);
  const order = Array.from(shares.keys()).sort((a, b) => shares[b] - shares[a] || a - b);
  const rank = order.indexOf(sequence.ids[place]);
  const rows = order.slice(0, LIKELIEST);
  if (rank >= LIKELIEST) rows.splice(LIKELIEST - 1, 1, sequence.ids[place]);
  return { shares, drawn, temperature, rows, rank };
}

function describeNothing() {
  byId("character").textContent = "";
  byId("place").textContent = "Point at a character, or tap it.";
  byId("value").textContent = "";
  byId("likely").hidden = true;
  byId("announcement").textContent = "";
}

function cell(kind, text, share) {
  const made = document.createElement(kind);
  made.textContent = text;
  if (kind === "th") made.scope = "row";
  if (share !== undefined) made.style.setProperty("--share", `${100 * share}%`);
  return made;
}

function describe(place) {
  const id = sequence.ids[place];
  const prompt = Number.isNaN(sequence.temperatures[place]);
  byId("character").textContent = named(characters[id]);
  byId("place").textContent = `character ${place + 1}, ${prompt ? "prompt" : "generated"}`;
  byId("value").textContent = view.part === "" ? "" : `· unit ${number(source.value(place))}`;
  const prediction = predictionAt(place);
  byId("likely").hidden = prediction === null;
  if (prediction === null) {
    byId("place").textContent += "; the first character has no prediction";
    return;
  }
  const { shares, drawn, temperature, rows } = prediction;
  byId("sampling").textContent = drawn ? `at ${temperature.toFixed(2)}` : "";
  const lines = rows.map((other) => {
    const row = document.createElement("tr");
    row.append(cell("th", named(characters[other])), cell("td", percent(shares[other]), shares[other]));
    row.append(cell("td", drawn ? percent(drawn[other]) : ""));
    if (other === id) row.className = "this";
    return row;
  });
  byId("rows").replaceChildren(...lines);
}

// The same as a sentence for screen readers, when a character is selected.
function announce(place) {
  const prediction = predictionAt(place);
  const char = named(characters[sequence.ids[place]]);
  const value = view.part === "" ? "" : ` Unit ${number(source.value(place))}.`;
  const others = (prediction?.rows ?? []).slice(0, 3).map(
    (id) => `${named(characters[id])} ${percent(prediction.shares[id])}`,
  );
  const predicted = others.length ? ` Predicted: ${others.join(", ")}.` : "";
  byId("announcement").textContent = `${char}.${value}${predicted}`;
}

// generation

const unknownOf = (chars) => [...new Set(chars.filter((char) => !ids.has(char)))];

function problemOf(chars) {
  const unknown = unknownOf(chars);
  if (unknown.length) {
    const shown = unknown.slice(0, 5).map((char) => {
      const code = char.codePointAt(0).toString(16).toUpperCase().padStart(4, "0");
      return `“${named(char)}” (U+${code})`;
    });
    const more = unknown.length > 5 ? ` and ${unknown.length - 5} more` : "";
    return `Not in the vocabulary: ${shown.join(", ")}${more}. Remove it from the prompt.`;
  }
  if (chars.length >= MOST) return `The page holds ${MOST} characters; shorten the prompt.`;
  return "";
}

function showProblem(message) {
  byId("problem").textContent = message;
  byId("prompt").setAttribute("aria-invalid", Boolean(message));
  return message;
}

const clamped = (value, least, most) => Math.min(Math.max(+value || least, least), most);
function amount(id, least, most) {
  return (byId(id).value = Math.floor(clamped(byId(id).value, least, most)));
}

// Returns false if the prompt has characters that the network does not know.
function restart() {
  const chars = Array.from(byId("prompt").value);
  generation = null;
  rest = 0;
  showButtons();
  if (showProblem(problemOf(chars))) return false;
  network.forget();
  sequence = empty();
  sequence.prompt = chars.map((char) => ids.get(char));
  sequence.random = randomOf(amount("seed", 0, 2 ** 32 - 1));
  clearText();
  if (!chars.length) for (const id of MODEL.initial_ids) network.read(id);
  keepState(0);
  keepAddress();
  start();
  return true;
}

// The address keeps prompt, seed and temperature: who opens it sees the same text.
function keepAddress() {
  const values = ["prompt", "seed", "temperature"].map((id) => [id, byId(id).value]);
  history.replaceState(null, "", `#${new URLSearchParams(values)}`);
}

function readAddress() {
  const wanted = new URLSearchParams(location.hash.slice(1));
  byId("prompt").value = wanted.get("prompt") ?? MODEL.prompt;
  byId("seed").value = Math.floor(clamped(wanted.get("seed"), 0, 2 ** 32 - 1));
  byId("temperature").value = clamped(wanted.get("temperature") ?? 0.8, 0, 2);
  showTemperature();
  restart();
}

function start() {
  const room = MOST - Math.max(sequence.ids.length, sequence.prompt.length);
  const left = Math.min(rest || amount("length", 1, MOST), room);
  if (left < 1) {
    showStatus(`The page holds ${MOST} characters; generate a new text.`);
    return;
  }
  const now = performance.now();
  generation = { left, count: 0, credit: 1, started: now, last: now, shown: now };
  showStatus("Generating…");
  showButtons();
  requestAnimationFrame(step);
}

// One frame: as many characters as the speed and the time allow.
function step(now) {
  if (!generation) return;
  const speed = SPEEDS[byId("speed").value];
  const passed = Math.min((now - generation.last) / 1000, 0.25); // a hidden page gets no frames
  generation.credit = Math.min(generation.credit + speed * Math.max(passed, 0), MOST);
  generation.last = now;
  const from = sequence.ids.length;
  const started = performance.now();
  const room = Math.min(Math.max(FRAME, SHARE * (started - generation.shown)), LONGEST);
  let reason = "";
  try {
    while (performance.now() - started < room && addNext());
  } catch (error) {
    if (!(error instanceof NotFiniteError)) throw error;
    reason = "The network predicts NaN or infinity; the generation ends.";
  }
  generation.shown = performance.now();
  const below = box.scrollHeight - box.scrollTop - box.clientHeight < 40;
  const added = sequence.ids.slice(from).map((id) => characters[id]);
  append(added, (at) => Number.isNaN(sequence.temperatures[at]));
  if (below) box.scrollTop = box.scrollHeight;
  if (reason || generation.left < 1) stop(reason);
  else requestAnimationFrame(step);
}

// Adds one character, of the prompt or sampled, if it is due.
function addNext() {
  const { prompt } = sequence;
  if (prompt.length > sequence.ids.length) return add(prompt[sequence.ids.length], NaN);
  if (generation.left < 1 || generation.credit < 1) return false;
  const temperature = +byId("temperature").value;
  const id = chosen(network.logits, network.V, temperature, sequence.random());
  generation.credit -= 1;
  generation.left -= 1;
  generation.count += 1;
  return add(id, temperature);
}

function add(id, temperature) {
  network.read(id);
  sequence.ids.push(id);
  sequence.temperatures.push(temperature);
  keepState(sequence.ids.length);
  return true;
}

function stop(reason) {
  const { count, started, left } = generation;
  generation = null;
  rest = left;
  const rate = Math.round((1000 * count) / (performance.now() - started)).toLocaleString("en");
  const fast = byId("speed").value === "once" ? `, ${rate} per second` : "";
  const paused = left && !reason ? "Paused: " : "";
  showStatus(reason || `${paused}${count.toLocaleString("en")} characters generated${fast}.`);
  byId("plain").textContent = sequence.ids.map((id) => characters[id]).join("");
  showButtons();
}

const showStatus = (message) => (byId("status").textContent = message);

function showButtons() {
  byId("pause").textContent = generation ? "Pause" : "Continue";
  byId("pause").disabled = !generation && !sequence.ids.length;
  box.classList.toggle("generating", Boolean(generation));
}

// controls

function generate() {
  if (!restart()) byId("prompt").focus();
}
byId("generate").addEventListener("click", generate);
byId("pause").addEventListener("click", () => (generation ? stop("") : start()));
byId("prompt").addEventListener("input", () =>
  showProblem(problemOf(Array.from(byId("prompt").value))),
);
byId("prompt").addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
  event.preventDefault();
  generate();
});
function showTemperature() {
  byId("temperature-value").textContent = (+byId("temperature").value).toFixed(2);
}
byId("temperature").addEventListener("input", showTemperature);
byId("temperature").addEventListener("change", keepAddress);
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && generation) stop("");
});
addEventListener("hashchange", readAddress);

if (matchMedia("(prefers-reduced-motion: reduce)").matches) byId("speed").value = "once";
byId("length").max = MOST;
change({ layer: network.units.length - 1, part: network.parts.at(-1), ...MODEL.first });
describeNothing();
readAddress();
