// The network in inference, one time step after the other, as `chargen.sampling.engine` has it.
// Axes: J inputs and K outputs of a matmul; H units, V characters; D units and E feed-forward units
// of a residual block.
const TILE = 8; // columns summed together in JavaScript, whose sums fit into registers
const SIMD_TILE = 32; // and in WebAssembly, in eight registers of four
const SMALLEST = 1e-6; // as in chargen/settings.py

function arrayOf({ shape, values, scales }) {
  const raw = bytes(values).buffer;
  if (!scales) return new Float32Array(raw);
  const [levels, by] = [new Int8Array(raw), new Float32Array(bytes(scales).buffer)];
  const columns = shape[1];
  return Float32Array.from(levels, (level, place) => level * by[place % columns]);
}

// Assembles the WebAssembly module of product(h, end of h, sums, end of sums, W), all of them
// addresses: sums[k] += sum over j of h[j] W[j, k]. W is stored in tiles; h and sums are float64,
// the sums of one product float32. Opcodes: index of instructions of the WebAssembly specification.
function productModule() {
  const [H, H_END, SUMS, SUMS_END, W, P, X, FIRST] = [0, 1, 2, 3, 4, 5, 6, 7]; // locals
  const [I32, V128] = [0x7f, 0x7b];
  const number = (n) => (n < 128 ? [n] : [(n & 127) | 128, ...number(n >> 7)]);
  const sized = (items) => [...number(items.length), ...items.flat(2)];
  const section = (id, items) => [id, ...sized([sized(items)].flat())];
  const get = (n) => [0x20, n], set = (n) => [0x21, n], tee = (n) => [0x22, n];
  const simd = (opcode, ...more) => [0xfd, ...number(opcode), ...more.flat()];
  const load = (offset) => simd(0, 2, number(offset)), store = (offset) => simd(11, 2, number(offset));
  const advance = (n, by) => [...get(n), 0x41, ...number(by), 0x6a, ...tee(n)];
  const repeat = (n, end, body) => [0x03, 0x40, ...body, ...get(n), ...get(end), 0x49, 0x0d, 0, 0x0b];
  const lanes = Array.from({ length: SIMD_TILE / 4 }, (_, place) => place);
  const zero = simd(12, Array(16).fill(0));
  const upper = simd(13, Array.from({ length: 16 }, (_, byte) => 8 + (byte % 8)));
  const multiplied = [
    ...get(P), 0x2b, 3, 0, 0xb6, ...simd(19), ...set(X), // x = four times h[j] as float32
    ...lanes.flatMap((n) => [
      ...get(FIRST + n), ...get(X), ...get(W), ...load(16 * n), ...simd(230), ...simd(228), ...set(FIRST + n),
    ]),
    ...advance(W, 4 * SIMD_TILE), 0x1a, ...advance(P, 8), 0x1a,
  ];
  const added = lanes.flatMap((n) => [0, 16].flatMap((half) => [
    ...get(SUMS), ...get(SUMS), ...load(32 * n + half), ...get(FIRST + n),
    ...(half ? [...get(FIRST + n), ...upper] : []), ...simd(95), ...simd(240), ...store(32 * n + half),
  ]));
  const body = [
    ...repeat(SUMS, SUMS_END, [
      ...lanes.flatMap((n) => [...zero, ...set(FIRST + n)]), ...get(H), ...set(P),
      ...repeat(P, H_END, multiplied), ...added, ...advance(SUMS, 8 * SIMD_TILE), 0x1a,
    ]),
    0x0b,
  ];
  const code = [2, 1, I32, ...number(1 + lanes.length), V128, ...body];
  const name = (text) => sized([...text].map((letter) => letter.charCodeAt(0)));
  return new Uint8Array([
    0, 0x61, 0x73, 0x6d, 1, 0, 0, 0,
    ...section(1, [[0x60, 5, I32, I32, I32, I32, I32, 0]]),
    ...section(2, [[...name("page"), ...name("memory"), 2, 0, 0]]),
    ...section(3, [[0]]),
    ...section(7, [[...name("product"), 0, 0]]),
    ...section(10, [[...number(code.length), ...code]]),
  ]);
}

// Compiled once; null in a browser without WebAssembly or its SIMD instructions.
const PRODUCT = (() => {
  try {
    return new WebAssembly.Module(productModule());
  } catch {
    return null;
  }
})();

// Allocates the arrays of one network, with `simd` in one memory that WebAssembly reads.
class Space {
  constructor({ units, characters, arrays }, simd) {
    this.tile = simd ? SIMD_TILE : TILE;
    if (!simd) return;
    let size = 2 ** 16 + 2 ** 10 * (characters.length + units.reduce((sum, H) => sum + H, 0));
    for (const { shape: [J, K = 0] } of Object.values(arrays)) size += 4 * J * (K + 2 * SIMD_TILE);
    const memory = new WebAssembly.Memory({ initial: Math.ceil(size / 2 ** 16) });
    this.buffer = memory.buffer;
    this.used = 0;
    this.product = new WebAssembly.Instance(PRODUCT, { page: { memory } }).exports.product;
  }

  tiled(K) {
    return Math.ceil(K / this.tile) * this.tile;
  }

  array(Kind, length) {
    if (!this.buffer) return new Kind(length);
    const own = new Kind(this.buffer, this.used, length);
    this.used += 16 * Math.ceil(own.byteLength / 16);
    return own;
  }

  sums(K) {
    return this.array(Float64Array, this.tiled(K));
  }
}

// Columns `from` to `to` of a matrix (J, K), stored in tiles of columns, row by row.
class Matrix {
  constructor(space, values, J, K, from = 0, to = K) {
    const { tile, product } = space;
    this.J = J;
    this.K = space.tiled(to - from); // padded with zeros
    this.values = space.array(Float32Array, J * this.K);
    this.product = product;
    for (let k = 0; k < to - from; k++) {
      const start = Math.floor(k / tile) * tile * J + (k % tile);
      for (let j = 0; j < J; j++) this.values[start + j * tile] = values[j * K + from + k];
    }
  }

  // sums[k] += sum over j of h[j] W[j, k].
  addProduct(h, sums) {
    const { J, K, values: W } = this;
    if (this.product) {
      const [first, at] = [h.byteOffset, sums.byteOffset];
      this.product(first, first + 8 * J, at, at + 8 * K, W.byteOffset);
      return;
    }
    for (let k = 0, at = 0; k < K; k += TILE) {
      let s0 = sums[k], s1 = sums[k + 1], s2 = sums[k + 2], s3 = sums[k + 3];
      let s4 = sums[k + 4], s5 = sums[k + 5], s6 = sums[k + 6], s7 = sums[k + 7];
      for (let j = 0; j < J; j++) {
        const x = h[j];
        s0 += x * W[at++]; s1 += x * W[at++]; s2 += x * W[at++]; s3 += x * W[at++];
        s4 += x * W[at++]; s5 += x * W[at++]; s6 += x * W[at++]; s7 += x * W[at++];
      }
      sums[k] = s0; sums[k + 1] = s1; sums[k + 2] = s2; sums[k + 3] = s3;
      sums[k + 4] = s4; sums[k + 5] = s5; sums[k + 6] = s6; sums[k + 7] = s7;
    }
  }
}

const sigmoid = (x) => 1 / (1 + Math.exp(-x));
const ACTIVATIONS = {
  tanh: (x) => 1 - 2 / (1 + Math.exp(2 * x)),
  relu: (x) => Math.max(x, 0),
  sigmoid,
  linear: (x) => x,
};

// One layer with F input features, 0 if it reads characters. `x` holds the projected input, `at` the
// first column of each gate, `state` the layer's part of the state.
class Layer {
  constructor(space, { gates, parts, activation, arrays }, name, F, H, state) {
    const of = (part) => arrays[name + part] && arrayOf(arrays[name + part]);
    const [W_xh, W_hh] = [of("W_xh"), of("W_hh")];
    this.H = H;
    this.b_h = of("b_h");
    this.b_m = of("b_m");
    this.columns = this.b_h.length;
    this.at = Object.fromEntries(gates.map((gate, k) => [gate, k * H]));
    // A GRU without b_m has reset_after=False: W_hn is multiplied with the reset state.
    const apart = gates[0] === "r" && !this.b_m ? this.at.n : this.columns;
    if (W_hh) this.W_hh = new Matrix(space, W_hh, H, this.columns, 0, apart);
    if (W_hh && apart < this.columns) this.W_hn = new Matrix(space, W_hh, H, this.columns, apart);
    // A one-hot character selects a row.
    if (F) this.W_xh = new Matrix(space, W_xh, F, this.columns);
    else this.rows = W_xh;
    this.activation = ACTIVATIONS[activation];
    this.x = space.sums(this.columns);
    this.m = space.sums(this.columns); // h W_hh of a GRU
    parts.forEach((part, k) => (this[part] = state.subarray(k * H, (k + 1) * H)));
  }

  readCharacter(id) {
    const { x, b_h, rows, columns } = this;
    for (let k = 0, at = id * columns; k < columns; k++, at++) x[k] = rows[at] + b_h[k];
  }

  readBelow(h) {
    this.x.set(this.b_h);
    this.W_xh.addProduct(h, this.x);
  }
}

// One time step of each cell; `chargen.cells` has the equations.
const STEPS = {
  simple({ W_hh, activation, x, h, H }) {
    W_hh.addProduct(h, x);
    for (let k = 0; k < H; k++) h[k] = activation(x[k]);
  },
  lstm({ W_hh, activation, x, h, c, H, at: { i, f, g, o } }) {
    W_hh.addProduct(h, x);
    for (let k = 0; k < H; k++) {
      c[k] = sigmoid(x[f + k]) * c[k] + sigmoid(x[i + k]) * activation(x[g + k]);
      h[k] = sigmoid(x[o + k]) * activation(c[k]);
    }
  },
  gru(layer) {
    const { W_hh, W_hn, activation, x, m, h, b_m, H, at: { r, z, n } } = layer;
    if (W_hn) {
      W_hh.addProduct(h, x);
      for (let k = 0; k < H; k++) x[r + k] = sigmoid(x[r + k]) * h[k];
      W_hn.addProduct(x, m.fill(0));
    } else W_hh.addProduct(h, m.fill(0));
    for (let k = 0; k < H; k++) {
      const sums = W_hn ? m[k] : sigmoid(x[r + k] + m[r + k]) * (m[n + k] + b_m[k]);
      const kept = sigmoid(W_hn ? x[z + k] : x[z + k] + m[z + k]);
      h[k] = (1 - kept) * activation(x[n + k] + sums) + kept * h[k];
    }
  },
  mingru({ activation, x, h, H, at: { z, n } }) {
    for (let k = 0; k < H; k++) {
      const kept = sigmoid(x[z + k]);
      h[k] = (1 - kept) * activation(x[n + k]) + kept * h[k];
    }
  },
};

const silu = (x) => x * sigmoid(x);

// out = norm(x) * gain
function norm(x, gain, out) {
  const D = gain.length;
  let squares = 0;
  for (let d = 0; d < D; d++) squares += x[d] * x[d];
  const scale = 1 / Math.sqrt(squares / D + SMALLEST);
  for (let d = 0; d < D; d++) out[d] = x[d] * scale * gain[d];
  return out;
}

// The residual block of a layer; `chargen.recurrent.stack` has the equations.
class Block {
  constructor(space, { arrays }, name, D) {
    const of = (part) => arrayOf(arrays[name + part]);
    [this.g_in, this.W_conv, this.g_ff] = ["g_in", "W_conv", "g_ff"].map(of);
    [this.W_gate, this.W_out] = ["W_gate", "W_out"].map((part) => new Matrix(space, of(part), D, D));
    const W_down = of("W_down");
    this.E = W_down.length / D;
    this.W_up = new Matrix(space, of("W_up"), D, 2 * this.E);
    this.W_down = new Matrix(space, W_down, this.E, D);
    // The window of the convolution, latest first.
    this.seen = Array.from({ length: this.W_conv.length / D }, () => new Float64Array(D));
    [this.c, this.inner, this.wide] = [D, D, 2 * this.E].map((K) => space.sums(K));
  }

  forget() {
    for (const u of this.seen) u.fill(0);
  }

  // Returns the layer's input.
  enter(x) {
    const { g_in, W_conv, seen, c } = this;
    seen.unshift(norm(x, g_in, seen.pop()));
    c.fill(0);
    seen.forEach((u, k) => {
      for (let d = 0; d < u.length; d++) c[d] += W_conv[k * u.length + d] * u[d];
    });
    return c;
  }

  // Adds the gated output of the layer to x, then that of the feed-forward network.
  leave(x, h) {
    const { W_gate, W_out, g_ff, W_up, W_down, c, inner, wide, E } = this;
    W_gate.addProduct(c, inner.fill(0));
    for (let d = 0; d < h.length; d++) inner[d] = h[d] * silu(inner[d]);
    W_out.addProduct(inner, x);
    W_up.addProduct(norm(x, g_ff, inner), wide.fill(0));
    for (let e = 0; e < E; e++) wide[e] = silu(wide[e]) * wide[E + e];
    W_down.addProduct(wide, x);
  }
}

class Network {
  constructor(model, simd = PRODUCT !== null) {
    const space = new Space(model, simd);
    const { cell, units, characters, arrays } = model;
    const residual = model.stack === "residual";
    this.V = Array.from(characters).length;
    this.units = units;
    this.parts = model.parts;
    const numbers = units.reduce((sum, H) => sum + H * this.parts.length, 0);
    const top = residual ? numbers : this.place(units.length - 1, "h");
    // The parts of each layer, then the residual stream. `top` is the part that the head reads.
    this.state = space.array(Float64Array, numbers + (residual ? units.at(-1) : 0));
    this.topOf = (state) => state.subarray(top, top + units.at(-1));
    this.top = this.topOf(this.state);
    this.layers = units.map((H, n) => {
      const at = this.place(n, "h");
      const own = this.state.subarray(at, at + H * this.parts.length);
      const F = n ? units[n - 1] : residual ? H : 0;
      return new Layer(space, model, `stack.layers.${n}.`, F, H, own);
    });
    this.blocks = residual ? units.map((D, n) => new Block(space, model, `stack.blocks.${n}.`, D)) : [];
    if (residual) {
      [this.W_in, this.g_out] = [arrays["stack.W_in"], arrays["stack.g_out"]].map(arrayOf);
      [this.x, this.normed] = [units[0], units[0]].map((K) => space.sums(K));
    }
    this.step = STEPS[cell];
    this.W_hy = new Matrix(space, arrayOf(arrays.W_hy), units.at(-1), this.V);
    this.b_y = arrayOf(arrays.b_y);
    this.logits = space.sums(this.V); // V of them, then zeros
    [this.earlierTop, this.earlierLogits] = [units.at(-1), this.V].map((K) => space.sums(K));
  }

  // Returns the place of a part of a layer in the state.
  place(layer, part) {
    const before = this.units.slice(0, layer).reduce((sum, H) => sum + H, 0);
    return before * this.parts.length + this.parts.indexOf(part) * this.units[layer];
  }

  forget() {
    this.state.fill(0);
    for (const block of this.blocks) block.forget();
  }

  // Reads one character; `logits` are then those of the next one.
  read(id) {
    if (this.blocks.length) this.readThroughBlocks(id);
    else this.readThroughLayers(id);
    this.predict(this.top, this.logits);
  }

  readThroughLayers(id) {
    this.layers.forEach((layer, n) => {
      if (n) layer.readBelow(this.layers[n - 1].h);
      else layer.readCharacter(id);
      this.step(layer);
    });
  }

  readThroughBlocks(id) {
    const { x, W_in, top } = this;
    const D = top.length;
    x.set(W_in.subarray(id * D, (id + 1) * D));
    this.blocks.forEach((block, n) => {
      const layer = this.layers[n];
      layer.readBelow(block.enter(x));
      this.step(layer);
      block.leave(x, layer.h);
    });
    top.set(x.subarray(0, D));
  }

  predict(top, logits) {
    logits.fill(0).set(this.b_y);
    this.W_hy.addProduct(this.g_out ? norm(top, this.g_out, this.normed) : top, logits);
  }

  // Returns the logits after an earlier state.
  predictedFrom(state) {
    this.earlierTop.set(this.topOf(state));
    this.predict(this.earlierTop, this.earlierLogits);
    return this.earlierLogits;
  }
}

class NotFiniteError extends Error {}

// Returns the unnormalized probabilities of the first V logits; see `chargen.sampling.choice`.
function weightsOf(logits, V, temperature) {
  let best = 0;
  for (let v = 1; v < V; v++) if (logits[v] > logits[best]) best = v;
  const weights = new Float64Array(V);
  for (let v = 0; v < V; v++) weights[v] = Math.exp((logits[v] - logits[best]) / (temperature || 1));
  if (!weights.every(Number.isFinite)) throw new NotFiniteError();
  return temperature ? weights : weights.fill(0).fill(1, best, best + 1);
}

// Returns probabilities.
function sharesOf(logits, V, temperature) {
  const weights = weightsOf(logits, V, temperature);
  const sum = weights.reduce((total, weight) => total + weight, 0);
  return weights.map((weight) => weight / sum);
}

// Returns the id at a point in [0, 1) of the cumulative distribution.
function chosen(logits, V, temperature, point) {
  const weights = weightsOf(logits, V, temperature);
  const mark = point * weights.reduce((total, weight) => total + weight, 0);
  let sum = 0;
  for (let v = 0; v < V; v++) if ((sum += weights[v]) > mark) return v;
  return weights.lastIndexOf(1); // rounding left the mark above all sums
}

// Returns a generator of numbers in [0, 1): mulberry32 of Tommy Ettinger.
function randomOf(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
