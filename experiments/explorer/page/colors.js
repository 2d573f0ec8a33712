// Numbers as colours: pixels as they are, other numbers from blue (negative) over paper to orange (positive).

const [LOW, ZERO, HIGH] = [[0, 114, 178], [247, 247, 247], [213, 94, 0]];
const SERIES = ["#0072b2", "#d55e00", "#009e73", "#cc79a7"];

function mixed(from, to, share) {
  return `rgb(${from.map((a, i) => Math.round(a + (to[i] - a) * share)).join(",")})`;
}

function signed(value, largest) {
  const share = largest > 0 ? Math.max(-1, Math.min(1, value / largest)) : 0;
  return share < 0 ? mixed(ZERO, LOW, -share) : mixed(ZERO, HIGH, share);
}

function largestOf(data) {
  return data.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
}

function pixelColor(image, row, column) {
  const [, height, width, channels] = image.shape;
  if (row < 0 || column < 0 || row >= height || column >= width) return null;
  const level = (k) => Math.round(255 * Math.max(0, Math.min(1, image.data[(row * width + column) * channels + k])));
  return channels === 3 ? `rgb(${level(0)},${level(1)},${level(2)})` : `rgb(${level(0)},${level(0)},${level(0)})`;
}

// A colour of the page's style, which follows the reader's choice of light or dark.
function styled(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}
