// The sum behind each number of a convolution's map.

// For each weight of the kernel of one feature: the pixel that it meets at a unit, and their product.
function termsAt(x, kernel, feature, [row, column], { stride, padding, dilation }) {
  const [, height, width, channels] = x.shape;
  const [rows, columns, , features] = kernel.shape;
  const [top] = padsOf(padding, rows, dilation);
  const [left] = padsOf(padding, columns, dilation);
  const terms = [];
  for (let k = 0; k < channels; k++) {
    for (let i = 0; i < rows; i++) {
      for (let j = 0; j < columns; j++) {
        const place = [row * stride + i * dilation - top, column * stride + j * dilation - left];
        const [r, c] = [sourceOf(place[0], height, padding), sourceOf(place[1], width, padding)];
        const inside = r >= 0 && c >= 0;
        const pixel = inside ? x.data[(r * width + c) * channels + k] : 0;
        const weight = kernel.data[((i * columns + j) * channels + k) * features + feature];
        terms.push({ place, channel: k, pixel, weight, product: pixel * weight, inside });
      }
    }
  }
  return terms;
}

function sumOf(terms) {
  return terms.reduce((sum, term) => sum + term.product, 0);
}

// The whole map of one feature, (rows, columns); no rows where the window does not fit.
function mapOf(x, kernel, feature, options) {
  const [rows, columns] = [0, 1].map((axis) => outputSize(x.shape[axis + 1], kernel.shape[axis], options));
  const map = array([rows, columns]);
  for (let r = 0; r < rows; r++) {
    for (let c = 0; c < columns; c++) map.data[r * columns + c] = sumOf(termsAt(x, kernel, feature, [r, c], options));
  }
  return map;
}
