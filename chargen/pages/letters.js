// What the pages share that colour a text letter by letter.
const NAMES = { " ": "space", "\n": "line end", "\r": "carriage return", "\t": "tab" };
// What cannot be seen, or turns the direction of what comes after it, is spelled out.
const ACTING = /[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]/;
const spelled = (char) =>
  ACTING.test(char) ? `\\u${char.charCodeAt(0).toString(16).padStart(4, "0")}` : char;
const named = (char) => NAMES[char] || spelled(char);
const number = (value) => value.toFixed(2).replace("-", "−");
const byId = (id) => document.getElementById(id);
const bytes = (coded) => Uint8Array.from(atob(coded), (char) => char.charCodeAt(0));
// A value as the colour behind a letter, of what full colour stands for.
const colour = (value, full) =>
  `rgb(var(${value < 0 ? "--low" : "--high"}) / ${Math.min(Math.abs(value) / full, 1)})`;
