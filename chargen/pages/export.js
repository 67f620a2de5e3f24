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
let story = empty();
let writing = null; // the generation in progress

function empty() {
  return { typed: [], ids: [], heats: [], states: [], random: null };
}

function keepState(count) {
  const S = network.state.length;
  if (count % BLOCK === 0) story.states.push(new Float32Array(BLOCK * S));
  stateAt(count).set(network.state);
}
function stateAt(count) {
  const S = network.state.length;
  return story.states[Math.floor(count / BLOCK)].subarray((count % BLOCK) * S).subarray(0, S);
}

const source = {
  units: network.units,
  parts: MODEL.labels,
  value: (at) => stateAt(at + 1)[network.place(view.layer, view.part) + view.unit],
  range: () => null,
  describe,
  clear: describeNothing,
  selected: () => {},
  moved: speak,
};

// predictions

const percent = (share) => {
  const hundredths = 100 * share;
  if (hundredths > 0 && hundredths < 0.005) return "< 0.01%";
  return `${hundredths.toFixed(hundredths < 9.95 ? 2 : 1)}%`;
};

function expectedAt(place) {
  if (place === 0 && story.typed.length) return null;
  const logits = network.predictedFrom(stateAt(place));
  const heat = story.heats[place];
  const shares = sharesOf(logits, network.V, 1);
  const drawn = Number.isNaN(heat) ? null : sharesOf(logits, network.V, heat);
  const order = Array.from(shares.keys()).sort((a, b) => shares[b] - shares[a] || a - b);
  const rank = order.indexOf(story.ids[place]);
  const rows = order.slice(0, LIKELIEST);
  if (rank >= LIKELIEST) rows.splice(LIKELIEST - 1, 1, story.ids[place]);
  return { shares, drawn, heat, rows, rank };
}

function describeNothing() {
  byId("character").textContent = "";
  byId("place").textContent = "Point at a character, or tap it.";
  byId("value").textContent = "";
  byId("likely").hidden = true;
  byId("told").textContent = "";
}

function cell(kind, text, share) {
  const made = document.createElement(kind);
  made.textContent = text;
  if (kind === "th") made.scope = "row";
  if (share !== undefined) made.style.setProperty("--share", `${100 * share}%`);
  return made;
}

function describe(place) {
  const id = story.ids[place];
  const typed = Number.isNaN(story.heats[place]);
  byId("character").textContent = named(characters[id]);
  byId("place").textContent = `character ${place + 1}, ${typed ? "prompt" : "generated"}`;
  byId("value").textContent = view.part === "" ? "" : `· unit ${number(source.value(place))}`;
  const expected = expectedAt(place);
  byId("likely").hidden = expected === null;
  if (expected === null) {
    byId("place").textContent += "; the first character has no prediction";
    return;
  }
  const { shares, drawn, heat, rows } = expected;
  byId("heat").textContent = drawn ? `at ${heat.toFixed(2)}` : "";
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
function speak(place) {
  const expected = expectedAt(place);
  const char = named(characters[story.ids[place]]);
  const value = view.part === "" ? "" : ` Unit ${number(source.value(place))}.`;
  const others = (expected?.rows ?? []).slice(0, 3).map(
    (id) => `${named(characters[id])} ${percent(expected.shares[id])}`,
  );
  byId("told").textContent = `${char}.${value} ${others.length ? `Predicted: ${others.join(", ")}.` : ""}`;
}

// generation

const unknownOf = (chars) => [...new Set(chars.filter((char) => !ids.has(char)))];

function complaintOf(chars) {
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

function complain(message) {
  byId("complaint").textContent = message;
  byId("prompt").setAttribute("aria-invalid", Boolean(message));
  return message;
}

const amount = (id, least, most) => {
  const field = byId(id);
  const value = Math.min(Math.max(Math.floor(+field.value) || least, least), most);
  field.value = value;
  return value;
};

function begin() {
  const chars = Array.from(byId("prompt").value);
  if (complain(complaintOf(chars))) {
    byId("prompt").focus();
    return;
  }
  network.forget();
  story = empty();
  story.typed = chars.map((char) => ids.get(char));
  story.random = randomOf(amount("seed", 0, 2 ** 32 - 1));
  clearText();
  if (!chars.length) for (const id of MODEL.begins) network.read(id);
  keepState(0);
  start();
}

function start() {
  const room = MOST - Math.max(story.ids.length, story.typed.length);
  const left = Math.min(amount("length", 1, MOST), room);
  if (left < 1) {
    say(`The page holds ${MOST} characters; generate a new text.`);
    return;
  }
  const now = performance.now();
  writing = { left, written: 0, credit: 1, begun: now, last: now, shown: now };
  say("Generating…");
  showButtons();
  requestAnimationFrame(step);
}

// One frame: as many characters as the speed and the time allow.
function step(now) {
  if (!writing) return;
  const speed = SPEEDS[byId("speed").value];
  const passed = Math.min((now - writing.last) / 1000, 0.25); // a hidden page gets no frames
  writing.credit = Math.min(writing.credit + speed * Math.max(passed, 0), MOST);
  writing.last = now;
  const from = story.ids.length;
  const begun = performance.now();
  const room = Math.min(Math.max(FRAME, SHARE * (begun - writing.shown)), LONGEST);
  let reason = "";
  try {
    while (performance.now() - begun < room && one());
  } catch (error) {
    if (!(error instanceof NoNumbers)) throw error;
    reason = "The network predicts NaN or infinity; the generation ends.";
  }
  writing.shown = performance.now();
  const below = box.scrollHeight - box.scrollTop - box.clientHeight < 40;
  const added = story.ids.slice(from).map((id) => characters[id]);
  append(added, (at) => Number.isNaN(story.heats[at]));
  if (below) box.scrollTop = box.scrollHeight;
  if (reason || writing.left < 1) stop(reason);
  else requestAnimationFrame(step);
}

// Adds one character, of the prompt or sampled, if it is due.
function one() {
  const { typed } = story;
  if (typed.length > story.ids.length) return add(typed[story.ids.length], NaN);
  if (writing.left < 1 || writing.credit < 1) return false;
  const heat = +byId("temperature").value;
  const id = chosen(network.logits, network.V, heat, story.random());
  writing.credit -= 1;
  writing.left -= 1;
  writing.written += 1;
  return add(id, heat);
}

function add(id, heat) {
  network.read(id);
  story.ids.push(id);
  story.heats.push(heat);
  keepState(story.ids.length);
  return true;
}

function stop(reason) {
  const { written, begun } = writing;
  writing = null;
  const rate = Math.round((1000 * written) / (performance.now() - begun)).toLocaleString("en");
  const fast = byId("speed").value === "once" ? `, ${rate} per second` : "";
  say(reason || `${written.toLocaleString("en")} characters generated${fast}.`);
  byId("plain").textContent = story.ids.map((id) => characters[id]).join("");
  showButtons();
}

const say = (message) => (byId("status").textContent = message);

function showButtons() {
  byId("write").textContent = writing ? "Stop" : "Generate";
  byId("on").disabled = Boolean(writing) || !story.ids.length;
  box.classList.toggle("writing", Boolean(writing));
}

// controls

byId("write").addEventListener("click", () => (writing ? stop("") : begin()));
byId("on").addEventListener("click", () => start());
byId("prompt").addEventListener("input", () =>
  complain(complaintOf(Array.from(byId("prompt").value))),
);
byId("prompt").addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
  event.preventDefault();
  if (writing) stop("");
  begin();
});
const showHeat = () => (byId("heated").textContent = (+byId("temperature").value).toFixed(2));
byId("temperature").addEventListener("input", showHeat);
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && writing) stop("");
});

if (matchMedia("(prefers-reduced-motion: reduce)").matches) byId("speed").value = "once";
byId("length").max = MOST;
byId("prompt").value = MODEL.prompt;
showHeat();
change({ layer: network.units.length - 1, part: network.parts.at(-1) });
showButtons();
describeNothing();
