// The operations of a tape: each makes the data of its result of its operands, its parameters and the result's shape.

const UNARY = {
  neg: (a) => -a,
  exp: Math.exp,
  log: Math.log,
  log1p: Math.log1p,
  expm1: Math.expm1,
  tanh: Math.tanh,
  logistic: (a) => 1 / (1 + Math.exp(-a)),
  sqrt: Math.sqrt,
  rsqrt: (a) => 1 / Math.sqrt(a),
  abs: Math.abs,
  sign: Math.sign,
  square: (a) => a * a,
};

const BINARY = {
  add: (a, b) => a + b,
  sub: (a, b) => a - b,
  mul: (a, b) => a * b,
  div: (a, b) => a / b,
  max: (a, b) => Math.max(a, b),
  min: (a, b) => Math.min(a, b),
  pow: (a, b) => Math.pow(a, b),
  gt: (a, b) => Number(a > b),
  ge: (a, b) => Number(a >= b),
  lt: (a, b) => Number(a < b),
  le: (a, b) => Number(a <= b),
  eq: (a, b) => Number(a === b),
  ne: (a, b) => Number(a !== b),
  and: (a, b) => Number(a && b),
  or: (a, b) => Number(a || b),
};

// Σ over the window and the channels of a group; pixels beyond the border count nothing.
function convolve(x, kernel, { strides, before, dilation, groups }, shape) {
  const [, height, width, channels] = x.shape;
  const [rows, columns, perGroup, features] = kernel.shape;
  const perOut = features / groups;
  const y = new Float32Array(sizeOf(shape));
  const sums = new Float64Array(features);
  for (let r = 0, at = 0; r < shape[1]; r++) {
    for (let c = 0; c < shape[2]; c++, at += features) {
      sums.fill(0);
      for (let i = 0; i < rows; i++) {
        const row = r * strides[0] - before[0] + i * dilation[0];
        if (row < 0 || row >= height) continue;
        for (let j = 0; j < columns; j++) {
          const column = c * strides[1] - before[1] + j * dilation[1];
          if (column < 0 || column >= width) continue;
          const pixel = (row * width + column) * channels;
          for (let k = 0; k < channels; k++) {
            const value = x.data[pixel + k];
            const first = Math.floor(k / perGroup) * perOut;
            const weights = ((i * columns + j) * perGroup + (k % perGroup)) * features;
            for (let o = first; o < first + perOut; o++) sums[o] += value * kernel.data[weights + o];
          }
        }
      }
      y.set(sums, at);
    }
  }
  return y;
}

// Windows along one axis after the other: for sums and extremes the same as both at once.
function slide(x, { how, size, strides, before, dilation }, shape) {
  const first = { add: 0, max: -Infinity, min: Infinity }[how];
  let from = x;
  for (let axis = 0; axis < shape.length; axis++) {
    if (size[axis] === 1 && strides[axis] === 1 && from.shape[axis] === shape[axis]) continue;
    const made = array(from.shape.map((n, a) => (a === axis ? shape[a] : n)));
    const inner = sizeOf(from.shape.slice(axis + 1));
    const [length, count] = [from.shape[axis], shape[axis]];
    for (let i = 0; i < made.data.length; i++) {
      const outer = Math.floor(i / (inner * count));
      const start = (Math.floor(i / inner) % count) * strides[axis] - before[axis];
      let value = first;
      for (let j = 0; j < size[axis]; j++) {
        const place = start + j * dilation[axis];
        if (place >= 0 && place < length) {
          value = BINARY[how](value, from.data[(outer * length + place) * inner + (i % inner)]);
        }
      }
      made.data[i] = value;
    }
    from = made;
  }
  return from.data;
}

// Where along an axis the largest value stands, the first of several.
function placesOfLargest(x, axis, shape) {
  const [length, inner] = [x.shape[axis], sizeOf(x.shape.slice(axis + 1))];
  return Float32Array.from({ length: sizeOf(shape) }, (_, i) => {
    const start = Math.floor(i / inner) * length * inner + (i % inner);
    let place = 0;
    for (let j = 1; j < length; j++) if (x.data[start + j * inner] > x.data[start + place * inner]) place = j;
    return place;
  });
}

function multiply(a, b, [rows, columns]) {
  const inner = a.shape[1];
  const y = new Float32Array(rows * columns);
  for (let i = 0; i < rows; i++) {
    for (let j = 0; j < columns; j++) {
      let sum = 0;
      for (let k = 0; k < inner; k++) sum += a.data[i * inner + k] * b.data[k * columns + j];
      y[i * columns + j] = sum;
    }
  }
  return y;
}

function padded(x, value, { low, interior }, shape) {
  const y = new Float32Array(sizeOf(shape)).fill(value);
  const strides = stridesOf(x.shape);
  for (let i = 0; i < x.data.length; i++) {
    const index = x.shape.map((n, axis) => low[axis] + (Math.floor(i / strides[axis]) % n) * (interior[axis] + 1));
    if (index.some((place, axis) => place < 0 || place >= shape[axis])) continue;
    y[index.reduce((place, n, axis) => place * shape[axis] + n, 0)] = x.data[i];
  }
  return y;
}

function concatenated(parts, axis, shape) {
  const y = new Float32Array(sizeOf(shape));
  const inner = sizeOf(shape.slice(axis + 1));
  let start = 0;
  for (const part of parts) {
    const run = part.shape[axis] * inner;
    for (let outer = 0; outer * run < part.data.length; outer++) {
      y.set(part.data.subarray(outer * run, (outer + 1) * run), outer * shape[axis] * inner + start);
    }
    start += run;
  }
  return y;
}

function each(operation, operands, shape) {
  operation.places ??= operands.map((operand) => broadcastPlaces(operand.shape, shape));
  const y = new Float32Array(sizeOf(shape));
  const [a, b, c] = operands.map((operand) => operand.data);
  const [p, q, r] = operation.places;
  if (operation.op === "select") {
    for (let i = 0; i < y.length; i++) y[i] = a[p ? p[i] : i] ? c[r ? r[i] : i] : b[q ? q[i] : i];
  } else if (operation.op in UNARY) {
    const f = UNARY[operation.op];
    for (let i = 0; i < y.length; i++) y[i] = f(a[i]);
  } else {
    const f = BINARY[operation.op];
    for (let i = 0; i < y.length; i++) y[i] = f(a[p ? p[i] : i], b[q ? q[i] : i]);
  }
  return y;
}

function viewed(operation, x, shape) {
  operation.places ??= places(shape, operation.strides, operation.offset);
  return Float32Array.from(operation.places, (place) => x.data[place]);
}
