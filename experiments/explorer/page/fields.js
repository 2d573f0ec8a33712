// What a unit of any layer sees: its exact receptive field, and how much each pixel in it weighs.

function fieldsPart(networks) {
  const chosen = choose("seen-network", networks, networks[0], rebuild, (network) => network.name);
  for (const id of ["show-exact", "show-effective"]) byId(id).addEventListener("change", drawImage);
  const image = new Grid("seen", { label: "The image, with what the unit sees" });
  let [layers, at, unit, maps] = [[], 0, [0, 0], []];
  follow(drawAll);

  // One canvas for each layer of the network.
  function rebuild() {
    const kept = layers[at]?.name;
    layers = chosen.value.layers;
    at = Math.max(0, layers.findIndex((layer) => layer.name === kept));
    const canvases = layers.map(() => element("canvas"));
    maps = layers.map(
      (layer, i) =>
        new Grid(canvases[i], {
          label: `${layer.name}: the arrow keys go from unit to unit`,
          onMove: (row, column) => {
            const before = at;
            [at, unit] = [i, [row, column]];
            if (before !== i) drawMap(before);
            drawMap(i);
            drawImage();
          },
        }),
    );
    const figure = (layer, i) => element("figure", {}, canvases[i], element("figcaption", {}, `${layer.name}, ${layer.units.join("×")}`));
    byId("layers").replaceChildren(...layers.map(figure));
    if (kept === undefined) at = Math.min(1, layers.length - 1);
    unit = layers[at].units.map((n) => Math.floor((n - 1) / 2));
    maps[at].cursor = unit;
    drawAll();
  }

  function drawAll() {
    if (layers.length === 0) return rebuild();
    const found = chosen.value.activations(state.image);
    layers.forEach((layer, i) => {
      layer.mean = meanOverChannels(found[layer.name]);
      drawMap(i);
    });
    return drawImage();
  }

  function drawMap(i) {
    const [rows, columns] = layers[i].units;
    const largest = largestOf(layers[i].mean);
    maps[i].draw({
      rows,
      columns,
      color: (r, c) => signed(layers[i].mean[r * columns + c], largest),
      marks: (grid) => i === at && grid.frame([...unit, ...unit], styled("accent"), { thickness: 3 }),
    });
  }

  function drawImage() {
    const layer = layers[at];
    const seen = fieldOf(layer, unit);
    const [, height, width] = state.image.shape;
    const margin = Math.ceil(Math.max(height, width) / 8);
    image.draw({
      rows: height + 2 * margin,
      columns: width + 2 * margin,
      first: [-margin, -margin],
      color: (r, c) => pixelColor(state.image, r, c),
      marks: (grid) => {
        for (let r = 0; r < height; r++) {
          for (let c = 0; c < width; c++) {
            if (byId("show-exact").checked && !seen.reads(r, c)) grid.cover(r, c, styled("paper"), 0.6);
            if (byId("show-effective").checked) grid.cover(r, c, "#d55e00", 0.9 * seen.weight(r, c));
          }
        }
        grid.frame([0, 0, height - 1, width - 1], styled("faint"), { thickness: 1 });
        const [rows, columns] = seen.spans;
        if (byId("show-exact").checked) grid.frame([rows[0], columns[0], rows[1], columns[1]], styled("accent"), { thickness: 2, dashed: true });
      },
    });
    byId("field").textContent = describeField(layer, unit, seen);
  }

  return { draw: drawAll };
}

function meanOverChannels({ shape, data }) {
  const channels = sizeOf(shape.slice(3));
  const mean = new Float32Array(shape[1] * shape[2]);
  data.forEach((value, i) => (mean[Math.floor(i / channels)] += value / channels));
  return mean;
}

// Of one unit of a layer: which pixels it reads, how much each weighs (1: the most), its spans, the radius for 95 %.
function fieldOf(layer, unit) {
  const runs = unit.map((u, axis) => layer.axes[axis].reads[u]);
  const within = (run, place) => run.some((first, i) => i % 2 === 0 && first <= place && place <= run[i + 1]);
  const number = unit[0] * layer.units[1] + unit[1];
  const extent = (run) => (run.length === 0 ? 0 : run[run.length - 1] - run[0] + 1);
  const weights = (layer.weights ??= bytes(layer.effective));
  layer.starts ??= startsOf(layer, extent);
  const [rows, columns] = runs;
  const wide = extent(columns);
  return {
    spans: unit.map((u, axis) => layer.axes[axis].spans[u]),
    reads: (r, c) => within(rows, r) && within(columns, c),
    weight: (r, c) => {
      if (weights.length === 0 || r < rows[0] || r > rows[rows.length - 1] || c < columns[0] || c > columns[columns.length - 1]) return 0;
      return weights[layer.starts[number] + (r - rows[0]) * wide + (c - columns[0])] / 255;
    },
    radius: layer.radii[number],
  };
}

// Where the weights of each unit begin.
function startsOf(layer, extent) {
  const starts = [];
  let start = 0;
  for (const rows of layer.axes[0].reads) {
    for (const columns of layer.axes[1].reads) {
      starts.push(start);
      start += extent(rows) * extent(columns);
    }
  }
  return starts;
}

function describeField(layer, unit, seen) {
  const [down, across] = seen.spans;
  const [axis] = layer.axes;
  const said = [
    `${layer.name}, unit (${unit.join(", ")}) sees rows ${shown(down[0], 0)} to ${shown(down[1], 0)} and columns ${shown(across[0], 0)} to ${shown(across[1], 0)}`,
    `r = ${axis.size}, S = ${axis.stride}, P = ${axis.padding}`,
  ];
  if (layer.radii.length === 0) said.push("its weights were not measured: the layer is too large");
  else if (seen.radius === null) said.push("no pixel of these images weighs anything in it: its derivative is 0");
  else said.push(`95 % of its weight lies in a disc of radius ${seen.radius}`);
  return `${said.join("; ")}.`;
}
