// What the sliding window shows: image, map, the formula of the size, and the terms of one sum.

function drawInput(grid, terms, kernel, { padding, dilation }) {
  const { image } = state;
  const [, height, width] = image.shape;
  const pads = [0, 1].map((axis) => padsOf(padding, kernel.shape[axis], dilation));
  grid.draw({
    rows: height + pads[0][0] + pads[0][1],
    columns: width + pads[1][0] + pads[1][1],
    first: [-pads[0][0], -pads[1][0]],
    color: (r, c) => pixelColor(image, sourceOf(r, height, padding), sourceOf(c, width, padding)) ?? styled("wash"),
    marks: () => {
      grid.frame([0, 0, height - 1, width - 1], styled("faint"), { thickness: 1, dashed: true });
      for (const { place, channel } of terms) {
        if (channel === 0) grid.frame([...place, ...place], styled("accent"), { thickness: 1 });
      }
      if (terms.length > 0) grid.frame([...terms[0].place, ...terms[terms.length - 1].place], styled("accent"), { thickness: 3 });
    },
  });
  if (terms.length > 0) grid.cursor = terms[0].place.map((place, axis) => Math.round((place + terms[terms.length - 1].place[axis]) / 2));
}

function drawMap(grid, map, unit, filled) {
  const largest = largestOf(map.data);
  const [rows, columns] = map.shape;
  grid.draw({
    rows: Math.max(rows, 1),
    columns: Math.max(columns, 1),
    color: (r, c) => (r * columns + c < filled && r < rows ? signed(map.data[r * columns + c], largest) : styled("wash")),
    marks: () => rows > 0 && grid.frame([...unit, ...unit], styled("accent"), { thickness: 3 }),
  });
  grid.cursor = unit;
}

function writeSize(map, x, kernel, { stride, padding, dilation }) {
  const axes = x.shape[1] === x.shape[2] && kernel.shape[0] === kernel.shape[1] ? ["Along each axis"] : ["Down", "Across"];
  byId("size").textContent = axes
    .map((where, axis) => {
      const [n, k] = [x.shape[axis + 1], kernel.shape[axis]];
      const [before, after] = padsOf(padding, k, dilation);
      if (map.shape[axis] === 0) {
        const why = padding === "reflect" && Math.max(before, after) >= n ? "the mirror image would reach beyond the image" : "the window is larger than the padded image";
        return `${where}: no output, for ${why}.`;
      }
      const numbers = `⌊(${n} + ${before} + ${after} − ${dilation}·(${k} − 1) − 1) / ${stride}⌋ + 1`;
      return `${where}: o = ⌊(n + before + after − d (k − 1) − 1) / s⌋ + 1 = ${numbers} = ${map.shape[axis]}`;
    })
    .join("\n");
}

function writeTerms(terms, unit, kernel, network) {
  const said = byId("sum");
  const list = byId("products");
  list.replaceChildren();
  if (terms.length === 0) {
    said.textContent = "";
    return;
  }
  const total = sumOf(terms);
  said.dataset.value = String(total);
  const read = network ? ", of the pixels as the network reads them, standardized" : "";
  said.textContent = `Row ${unit[0]}, column ${unit[1]}: ${counted(terms.length, "product")}${read}, add up to ${shown(total, 4)}.`;
  const largest = largestOf(terms.map((term) => term.product));
  for (let channel = 0; channel < kernel.shape[2]; channel++) {
    const table = element("table", { class: "terms" });
    if (kernel.shape[2] > 1) table.append(element("caption", {}, ["red", "green", "blue"][channel] ?? `channel ${channel}`));
    const mine = terms.filter((term) => term.channel === channel);
    for (let i = 0; i < kernel.shape[0]; i++) {
      const cells = mine.slice(i * kernel.shape[1], (i + 1) * kernel.shape[1]).map((term) => termCell(term, largest));
      table.append(element("tr", {}, ...cells));
    }
    list.append(table);
  }
}

function termCell({ pixel, weight, product, inside }, largest) {
  const cell = element(
    "td",
    { class: inside ? null : "outside", title: inside ? "pixel × weight = product" : "beyond the border: 0" },
    element("span", {}, shown(pixel)),
    element("span", {}, `× ${shown(weight)}`),
    element("b", {}, `= ${shown(product)}`),
  );
  cell.style.setProperty("border-color", largest > 0 ? signed(product, largest) : "transparent");
  return cell;
}
