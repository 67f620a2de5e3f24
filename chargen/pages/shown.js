// What the page of `chargen export --to page` shows of what was written: colours, and what else was
// likely. The letters themselves are those of writing.js.
const LIKELIEST = 8; // rows of the table of what else could have come
const SHOWN = { "\r": "␍", "\t": "\t", "\n": "\n" };

// What stands in lines before the last need not be laid out again as letters come.
function newLine() {
  const line = document.createElement("span");
  line.className = "line";
  return box.appendChild(line);
}

function show(from) {
  const below = box.scrollHeight - box.scrollTop - box.clientHeight < 40;
  let line = box.lastElementChild ?? newLine();
  for (let place = from; place < story.ids.length; place++) {
    const span = document.createElement("span");
    const char = characters[story.ids[place]];
    span.textContent = SHOWN[char] || spelled(char);
    if (char === "\n") span.className = "end";
    if (Number.isNaN(story.heats[place])) span.classList.add("typed");
    story.spans.push(span);
    line.append(span);
    if (char === "\n") line = newLine();
  }
  if (!paint(from)) paint(0);
  if (below) box.scrollTop = box.scrollHeight;
}

// Whether the scale was wide enough; if not, it is now, and all letters have to be painted.
function paint(from) {
  const coloured = view.part !== "";
  for (let place = from; place < story.spans.length; place++) {
    const value = coloured ? valueAt(place) : 0;
    if (Math.abs(value) > story.full) {
      story.full = 2 ** Math.ceil(Math.log2(Math.abs(value)));
      showScale();
      return false;
    }
    story.spans[place].style.backgroundColor = coloured ? colour(value, story.full) : "";
  }
  return true;
}

function showScale() {
  byId("least").textContent = number(-story.full);
  byId("most").textContent = `+${number(story.full)}`;
}

function showUnit() {
  const off = view.part === "";
  byId("scale").hidden = off;
  for (const id of ["unit", "previous", "following"]) byId(id).disabled = off;
  byId("layer").value = view.layer + 1;
  byId("part").value = view.part;
  byId("unit").value = view.unit + 1;
  byId("unit").max = network.units[view.layer];
  byId("of").textContent = `of ${network.units[view.layer]}`;
  byId("means").textContent = off ? "" : MODEL.means[view.part];
  story.full = 1;
  showScale();
  while (!paint(0));
  if (view.at >= 0) tell(view.at);
}

function change(asked) {
  Object.assign(view, asked);
  const H = network.units[view.layer];
  view.unit = Math.min(Math.max(Math.round(view.unit) || 0, 0), H - 1);
  showUnit();
}
const stepUnit = (by) => {
  const H = network.units[view.layer];
  if (view.part !== "") change({ unit: (view.unit + by + H) % H });
};

// what else was likely

const percent = (share) => {
  const hundredths = 100 * share;
  if (hundredths > 0 && hundredths < 0.005) return "< 0.01 %";
  return `${hundredths.toFixed(hundredths < 9.95 ? 2 : 1)} %`;
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

function tellNothing() {
  byId("character").textContent = "";
  byId("place").textContent = "Point at a letter, or tap it.";
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

function tell(place) {
  const id = story.ids[place];
  const typed = Number.isNaN(story.heats[place]);
  byId("character").textContent = named(characters[id]);
  byId("place").textContent = `letter ${place + 1}, ${typed ? "typed" : "written"}`;
  byId("value").textContent = view.part === "" ? "" : `· unit ${number(valueAt(place))}`;
  const expected = expectedAt(place);
  byId("likely").hidden = expected === null;
  if (expected === null) {
    byId("place").textContent += "; nothing stood before it";
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

// The same in a sentence, for those who hear the page: only where they ask for it.
function speak(place) {
  const expected = expectedAt(place);
  const char = named(characters[story.ids[place]]);
  const value = view.part === "" ? "" : ` Unit ${number(valueAt(place))}.`;
  const others = (expected?.rows ?? []).slice(0, 3).map(
    (id) => `${named(characters[id])} ${percent(expected.shares[id])}`,
  );
  byId("told").textContent = `${char}.${value} ${others.length ? `Likely: ${others.join(", ")}.` : ""}`;
}

function moveTo(place) {
  if (!story.spans.length) return;
  story.spans[view.at]?.classList.remove("at");
  view.at = Math.min(Math.max(place, 0), story.spans.length - 1);
  story.spans[view.at].classList.add("at");
  story.spans[view.at].scrollIntoView({ block: "nearest" });
  tell(view.at);
  speak(view.at);
}
