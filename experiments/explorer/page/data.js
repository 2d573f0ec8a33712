// What the page carries: JSON, in which arrays are base64.

const DATA = JSON.parse(document.getElementById("data").textContent);

function bytes(text) {
  return Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
}

// Numbers of 28 bits: the first three bytes of each, then half a byte of each.
function floats(text) {
  const kept = bytes(text);
  const count = Math.floor((kept.length * 2) / 7);
  const whole = new Uint8Array(4 * count);
  for (let i = 0; i < count; i++) {
    whole[4 * i] = (kept[3 * count + (i >> 1)] >> (4 * (i % 2))) << 4;
    whole.set(kept.subarray(3 * i, 3 * i + 3), 4 * i + 1);
  }
  return new Float32Array(whole.buffer);
}
