// Arrays as { shape, data }, in row-major order, channels last.

function sizeOf(shape) {
  return shape.reduce((product, n) => product * n, 1);
}

function array(shape, data) {
  return { shape, data: data ?? new Float32Array(sizeOf(shape)) };
}

function stridesOf(shape) {
  return shape.map((_, axis) => sizeOf(shape.slice(axis + 1)));
}

// Where each element of an array of `shape` lies in a flat one: at offset + Σ index[axis] · strides[axis].
function places(shape, strides, offset = 0) {
  const found = new Int32Array(sizeOf(shape));
  const index = shape.map(() => 0);
  let place = offset;
  for (let i = 0; i < found.length; i++) {
    found[i] = place;
    for (let axis = shape.length - 1; axis >= 0; axis--) {
      index[axis] += 1;
      place += strides[axis];
      if (index[axis] < shape[axis]) break;
      place -= index[axis] * strides[axis];
      index[axis] = 0;
    }
  }
  return found;
}

// The same for an array that is broadcast to `shape` as NumPy does it; null where it has that shape.
function broadcastPlaces(from, shape) {
  if (sizeOf(from) === sizeOf(shape)) return null;
  const missing = shape.length - from.length;
  const strides = stridesOf(from);
  const spread = shape.map((_, axis) => (axis < missing || from[axis - missing] === 1 ? 0 : strides[axis - missing]));
  return places(shape, spread);
}
