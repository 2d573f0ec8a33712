// The image moved: cnnjax.ops.shift by whole pixels, and cnnjax.ops.rotate about the centre, with zeros coming in.

function shift(x, down, right) {
  const [, height, width, channels] = x.shape;
  const y = array(x.shape);
  for (let r = 0; r < height; r++) {
    for (let c = 0; c < width; c++) {
      const [row, column] = [r - down, c - right];
      if (row < 0 || row >= height || column < 0 || column >= width) continue;
      const from = (row * width + column) * channels;
      y.data.set(x.data.subarray(from, from + channels), (r * width + c) * channels);
    }
  }
  return y;
}

// Counter-clockwise; between pixels as the four around are, in proportion. Exact for quarter turns.
function rotate(x, degrees) {
  const [, height, width, channels] = x.shape;
  const quarters = Math.round(degrees / 90);
  const rest = ((degrees - 90 * quarters) * Math.PI) / 180;
  const turns = ((quarters % 4) + 4) % 4;
  const sign = turns < 2 ? 1 : -1;
  const cos = sign * (turns % 2 === 0 ? Math.cos(rest) : -Math.sin(rest));
  const sin = sign * (turns % 2 === 0 ? Math.sin(rest) : Math.cos(rest));
  const [middleRow, middleColumn] = [(height - 1) / 2, (width - 1) / 2];
  const y = array(x.shape);
  for (let r = 0; r < height; r++) {
    for (let c = 0; c < width; c++) {
      const [u, v] = [r - middleRow, c - middleColumn];
      const [row, column] = [cos * u + sin * v + middleRow, cos * v - sin * u + middleColumn];
      const [top, left] = [Math.floor(row), Math.floor(column)];
      for (const [i, a] of [[top, 1 - (row - top)], [top + 1, row - top]]) {
        if (i < 0 || i >= height || a === 0) continue;
        for (const [j, b] of [[left, 1 - (column - left)], [left + 1, column - left]]) {
          if (j < 0 || j >= width || b === 0) continue;
          for (let k = 0; k < channels; k++) {
            y.data[(r * width + c) * channels + k] += a * b * x.data[(i * width + j) * channels + k];
          }
        }
      }
    }
  }
  return y;
}

function move(x, { down, right, degrees }) {
  return shift(degrees === 0 ? x : rotate(x, degrees), down, right);
}
