// Scores of a network as bars, and the maps of a layer, for each network side by side.

class Scores {
  constructor(network, color) {
    this.network = network;
    this.verdict = element("p", { class: "verdict", "aria-live": "polite" });
    this.bars = DATA.classes.map((name) => {
      const bar = element("i");
      bar.style.setProperty("background", color);
      const row = element("div", { class: "score" }, element("span", {}, name), element("span", { class: "bar" }, bar), element("span", { class: "number" }));
      return { bar, row };
    });
    this.canvas = element("canvas");
    this.maps = new Grid(this.canvas, { label: `Maps of ${network.name}` });
    const right = network.accuracy === null ? "" : `, right on ${(100 * network.accuracy).toFixed(1)} % of the test images as they are`;
    this.element = element(
      "article",
      {},
      element("h3", {}, network.name),
      element("p", { class: "note" }, `${network.title}${right}`),
      this.verdict,
      element("div", { class: "scores" }, ...this.bars.map(({ row }) => row)),
      this.canvas,
    );
  }

  show(image, layer) {
    const found = this.network.activations(image);
    const shares = softmax(found.logits.data);
    const best = shares.indexOf(Math.max(...shares));
    this.bars.forEach(({ bar, row }, i) => {
      bar.style.setProperty("width", `${100 * shares[i]}%`);
      row.lastChild.textContent = `${(100 * shares[i]).toFixed(1)} %`;
      row.classList.toggle("right", i === state.label);
    });
    const truth = state.label === null ? "" : best === state.label ? " ✓ right" : ` ✗ it is ${DATA.classes[state.label]}`;
    this.verdict.textContent = `says ${DATA.classes[best]}${truth}`;
    this.shares = shares;
    this.drawMaps(found[layer]);
  }

  // Up to 16 channels side by side, all on one scale.
  drawMaps(maps) {
    this.canvas.hidden = !maps;
    if (!maps) return;
    const [, height, width] = maps.shape;
    const channels = sizeOf(maps.shape.slice(3));
    const count = Math.min(channels, 16);
    const across = Math.ceil(Math.sqrt(count));
    const largest = largestOf(maps.data);
    this.maps.draw({
      rows: Math.ceil(count / across) * (height + 1) - 1,
      columns: across * (width + 1) - 1,
      color: (r, c) => {
        const [i, j] = [r % (height + 1), c % (width + 1)];
        const channel = Math.floor(r / (height + 1)) * across + Math.floor(c / (width + 1));
        if (i === height || j === width || channel >= count) return null;
        return signed(maps.data[(i * width + j) * channels + channel], largest);
      },
    });
  }
}
