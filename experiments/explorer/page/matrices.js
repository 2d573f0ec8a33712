// A dense layer and a convolution of a row of pixels, each as the matrix that it multiplies by.

// The matrix of a convolution: for each output and input the number of its weight, −1 where there is none.
function convolutionMatrix(n, k, { stride, padding }) {
  const count = outputSize(n, k, { stride, padding, dilation: 1 });
  const [before] = padsOf(padding, k, 1);
  return Array.from({ length: count }, (_, i) => {
    const row = Array(n).fill(-1);
    for (let j = 0; j < k; j++) {
      const place = sourceOf(i * stride + j - before, n, padding);
      if (place >= 0) row[place] = j;
    }
    return row;
  });
}

function matricesPart(networks) {
  const padding = choose("matrix-padding", ["same", "valid", "circular"], "same", draw);
  const stride = choose("matrix-stride", [1, 2], 1, draw);
  const weights = middleRow(networks);
  const about = { dense: "Matrix of the dense layer", convolution: "Matrix of the convolution" };
  const grids = Object.fromEntries(
    Object.entries(about).map(([name, label]) => {
      const onMove = (row, column) => {
        at = [row, column];
        draw();
      };
      return [name, new Grid(name, { label: `${label}; the arrow keys go from weight to weight`, onMove })];
    }),
  );
  const vectors = Object.fromEntries(["dense-x", "dense-y", "convolution-x", "convolution-y"].map((id) => [id, new Grid(id, { label: id })]));
  let at = [1, 1];
  byId("inputs").addEventListener("input", draw);
  follow(draw);

  function draw() {
    const n = Number(byId("inputs").value);
    const x = pixelRow(n);
    const used = convolutionMatrix(n, weights.length, { stride: stride.value, padding: padding.value });
    at = [Math.min(at[0], used.length - 1), Math.min(at[1], n - 1)];
    const dense = used.map((_, i) => DATA.dense[i].slice(0, n));
    const shared = used.map((row) => row.map((weight) => (weight < 0 ? 0 : weights[weight])));
    drawProduct("dense", dense, x, (i, j) => i === at[0] && j === at[1]);
    const mine = used[at[0]][at[1]];
    drawProduct("convolution", shared, x, (i, j) => mine >= 0 && used[i][j] === mine);
    writeProducts(used, dense, shared, x, mine);
  }

  function drawProduct(name, matrix, x, marked) {
    const y = matrix.map((row) => row.reduce((sum, weight, j) => sum + weight * x[j], 0));
    const largest = largestOf(matrix.flat());
    grids[name].draw({
      rows: matrix.length,
      columns: x.length,
      color: (i, j) => (name === "convolution" && matrix[i][j] === 0 ? null : signed(matrix[i][j], largest)),
      marks: (grid) => {
        matrix.forEach((row, i) => row.forEach((_, j) => marked(i, j) && grid.frame([i, j, i, j], styled("accent"), { thickness: 3 })));
        grid.frame([at[0], 0, at[0], x.length - 1], styled("ink"), { thickness: 1, dashed: true });
        grid.frame([at[0], at[1], at[0], at[1]], styled("ink"), { thickness: 1.5 });
      },
    });
    grids[name].cursor = at;
    grids[name].canvas.parentElement.style.setProperty("grid-template-columns", `${x.length}fr auto 1fr auto 1fr`);
    const column = (id, values, place) =>
      vectors[id].draw({
        rows: values.length,
        columns: 1,
        color: (i) => signed(values[i], largestOf(values)),
        marks: (grid) => grid.frame([place, 0, place, 0], styled("ink"), { thickness: 1.5 }),
      });
    column(`${name}-x`, x, at[1]);
    column(`${name}-y`, y, at[0]);
  }

  function writeProducts(used, dense, shared, x, mine) {
    const [i, j] = at;
    const [outputs, n] = [used.length, x.length];
    const uses = used.flat().filter((weight) => weight >= 0).length;
    byId("counts").textContent =
      `From ${n} pixels to ${outputs} numbers: the dense layer has ${outputs * n} weights, each used once; the convolution has ` +
      `${weights.length}, used ${uses} times. On a map of ${n}×${n} to ${outputs}×${outputs}: ${(outputs * outputs * n * n).toLocaleString("en")} against ${weights.length ** 2}.`;
    const sum = (row) => row.map((weight, k) => [weight, x[k]]).filter(([weight]) => weight !== 0);
    const text = (row) => sum(row).map(([weight, pixel]) => `${shown(weight, 2)}·${shown(pixel, 2)}`).join(" + ");
    const total = (row) => shown(sum(row).reduce((all, [weight, pixel]) => all + weight * pixel, 0));
    byId("dense-said").textContent = `Row ${i}, column ${j}: ${shown(dense[i][j])}, used nowhere else. y${sub(i)} = ${text(dense[i])} = ${total(dense[i])}`;
    const which = mine < 0 ? "no weight: pixel and number are too far apart" : `weight ${mine + 1} of ${weights.length}, ${shown(weights[mine])}, used ${counted(used.flat().filter((weight) => weight === mine).length, "time")}`;
    byId("convolution-said").textContent = `Row ${i}, column ${j}: ${which}. y${sub(i)} = ${text(shared[i]) || "0"} = ${total(shared[i])}`;
  }

  return { draw, weights };
}

function sub(number) {
  return String(number).replace(/\d/g, (digit) => "₀₁₂₃₄₅₆₇₈₉"[digit]);
}

// Three weights: the middle of the middle row of a network's first filter, or of the first kernel without one.
function middleRow(networks) {
  const kernel = networks[0].firstKernel();
  if (!kernel || kernel.shape[0] < 3 || kernel.shape[1] < 3) return DATA.kernels[0].weights[1];
  const [row, column] = [Math.floor(kernel.shape[0] / 2), Math.floor(kernel.shape[1] / 2)];
  return [-1, 0, 1].map((j) => kernel.data[(row * kernel.shape[1] + column + j) * kernel.shape[2] * kernel.shape[3]]);
}

// Pixels of the middle row of the image, from its middle.
function pixelRow(n) {
  const [, height, width, channels] = state.image.shape;
  const start = Math.max(0, Math.floor((width - n) / 2));
  return Array.from({ length: n }, (_, j) => state.image.data[(Math.floor(height / 2) * width + Math.min(start + j, width - 1)) * channels]);
}
