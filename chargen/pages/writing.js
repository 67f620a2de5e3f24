// What moves on the page of `chargen export --to page`. MODEL is the data, written before this.
const BLOCK = 256; // letters whose states are kept together
const FRAME = 24; // milliseconds of writing between two pictures, while a picture takes little
const SHARE = 6; // as many times what the picture before took, but for
const LONGEST = 300; // milliseconds: the longer the text, the longer it takes to lay out
const SPEEDS = { slow: 6, read: 30, once: Infinity }; // letters a second

const network = new Network(MODEL);
const MOST = Math.floor(Math.min(20000, 2 ** 24 / network.state.length)); // letters held
const characters = Array.from(MODEL.characters);
const ids = new Map(characters.map((char, id) => [char, id]));
const box = byId("text");
const view = { layer: network.units.length - 1, part: network.parts.at(-1), unit: 0, at: -1 };
// What was typed, and all letters so far: the id, the temperature it was drawn at (NaN where it was
// typed), its place on the page, and the state of the network before the first and after each.
let story = empty();
let writing = null; // what is still to be done, while something is

function empty() {
  return { typed: [], ids: [], heats: [], spans: [], states: [], full: 1, random: null };
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
const valueAt = (place) =>
  stateAt(place + 1)[network.place(view.layer, view.part) + view.unit];

// writing

const unknownOf = (chars) => [...new Set(chars.filter((char) => !ids.has(char)))];

function complaintOf(chars) {
  const unknown = unknownOf(chars);
  if (unknown.length) {
    const shown = unknown.slice(0, 5).map((char) => {
      const code = char.codePointAt(0).toString(16).toUpperCase().padStart(4, "0");
      return `“${named(char)}” (U+${code})`;
    });
    const more = unknown.length > 5 ? ` and ${unknown.length - 5} more` : "";
    return `This network does not know ${shown.join(", ")}${more}: its text never held it. Leave it out.`;
  }
  if (chars.length >= MOST) return `The page holds ${MOST} letters; begin with fewer.`;
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
  box.replaceChildren();
  if (!chars.length) for (const id of MODEL.begins) network.read(id);
  keepState(0);
  view.at = -1;
  tellNothing();
  start();
}

function start() {
  const room = MOST - Math.max(story.ids.length, story.typed.length);
  const left = Math.min(amount("length", 1, MOST), room);
  if (left < 1) {
    say(`The page is full, it holds ${MOST} letters; write anew.`);
    return;
  }
  const now = performance.now();
  writing = { left, written: 0, credit: 1, begun: now, last: now, shown: now };
  say("Writing…");
  showButtons();
  requestAnimationFrame(step);
}

// One picture of the screen: as many letters as are due and as there is time for.
function step(now) {
  if (!writing) return;
  const speed = SPEEDS[byId("speed").value];
  const passed = Math.min((now - writing.last) / 1000, 0.25); // a page that was hidden waited
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
    reason = "The network predicts no numbers any more, and can go on no further.";
  }
  writing.shown = performance.now();
  show(from);
  if (reason || writing.left < 1) stop(reason);
  else requestAnimationFrame(step);
}

// One letter, typed or drawn, if it is due.
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
  const fast = byId("speed").value === "once" ? `, ${rate} a second` : "";
  say(reason || `${written.toLocaleString("en")} letters written${fast}.`);
  byId("plain").textContent = story.ids.map((id) => characters[id]).join("");
  showButtons();
}

const say = (message) => (byId("status").textContent = message);

function showButtons() {
  byId("write").textContent = writing ? "Stop" : "Write";
  byId("on").disabled = Boolean(writing) || !story.ids.length;
  box.classList.toggle("writing", Boolean(writing));
}

// what is done to the page

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
byId("layer").addEventListener("change", (event) => change({ layer: event.target.value - 1 }));
byId("part").addEventListener("change", (event) => change({ part: event.target.value }));
byId("unit").addEventListener("change", (event) => change({ unit: event.target.value - 1 }));
byId("previous").addEventListener("click", () => stepUnit(-1));
byId("following").addEventListener("click", () => stepUnit(1));
const placeOf = (event) => story.spans.indexOf(event.target);
box.addEventListener("click", (event) => {
  if (placeOf(event) >= 0) moveTo(placeOf(event));
});
box.addEventListener("pointerover", (event) => {
  if (placeOf(event) >= 0) tell(placeOf(event));
});
box.addEventListener("pointerleave", () => (view.at < 0 ? tellNothing() : tell(view.at)));
box.addEventListener("keydown", (event) => {
  if (event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return;
  const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  const unit = { ArrowUp: -1, ArrowDown: 1 }[event.key];
  if (by) moveTo(view.at + by);
  else if (unit) stepUnit(unit);
  else if (event.key === "Home") moveTo(0);
  else if (event.key === "End") moveTo(story.spans.length - 1);
  else return;
  event.preventDefault();
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && writing) stop("");
});

if (matchMedia("(prefers-reduced-motion: reduce)").matches) byId("speed").value = "once";
byId("length").max = MOST;
byId("prompt").value = MODEL.prompt;
showHeat();
showUnit();
showButtons();
tellNothing();
