// Padding by name, the size that follows from it, and what is read beyond the border: as in cnnjax.ops.padding.

const PADDINGS = ["valid", "same", "full", "circular", "reflect"];
const FILLS = { circular: "circular", reflect: "reflect" };

function spanOf(k, dilation) {
  return dilation * (k - 1) + 1;
}

// Pixels before and after the map.
function padsOf(padding, k, dilation) {
  const span = spanOf(k, dilation);
  if (padding === "valid") return [0, 0];
  if (padding === "full") return [span - 1, span - 1];
  return [Math.floor((span - 1) / 2), Math.floor(span / 2)];
}

// Windows along an axis of n pixels; 0 where there is none.
function outputSize(n, k, { stride, padding, dilation }) {
  const [before, after] = padsOf(padding, k, dilation);
  if (padding === "reflect" && Math.max(before, after) >= n) return 0;
  return Math.max(Math.floor((n + before + after - spanOf(k, dilation)) / stride) + 1, 0);
}

// The pixel that a position is read from; -1 where there is nothing but zeros.
function sourceOf(position, n, padding) {
  if (position >= 0 && position < n) return position;
  if (FILLS[padding] === "circular") return ((position % n) + n) % n;
  if (FILLS[padding] !== "reflect") return -1;
  const period = Math.max(2 * (n - 1), 1);
  const place = ((position % period) + period) % period;
  return Math.min(place, period - place);
}
