// A window slides over the image and fills the map: every number of every sum.

function slidingPart(networks) {
  const kernels = kernelChoices(networks);
  const padding = choose("padding", PADDINGS, "same", changed);
  const stride = choose("stride", [1, 2, 3], 1, changed);
  const dilation = choose("dilation", [1, 2, 3], 1, changed);
  const options = () => ({ stride: stride.value, padding: padding.value, dilation: dilation.value });
  const input = new Grid("input", { label: "The image; the arrow keys move the window", onMove: overInput, onKey: playKey });
  const output = new Grid("map", { label: "The map; the arrow keys go from number to number", onMove: overMap, onKey: playKey });
  let [chosen, x, map, unit, filled, playing] = [kernels[0], null, null, [0, 0], 0, false];

  byId("kernel").addEventListener("change", (event) => {
    chosen = kernels[event.target.selectedIndex];
    takeOwnOptions();
    changed();
  });
  pressed("play", () => (playing ? pause() : play()));
  pressed("back", () => step(-1));
  pressed("forward", () => step(1));
  pressed("empty", () => fillTo(0));
  pressed("whole", () => fillTo(map.data.length));
  follow(changed);
  takeOwnOptions();

  // A network's kernel comes with the stride, padding and dilation that the network gives it, where they are here.
  function takeOwnOptions() {
    const first = chosen.network?.first;
    if (!first) return;
    const span = spanOf(chosen.kernel.shape[0], first.dilation[0]);
    if ([1, 2, 3].includes(first.strides[0])) stride.set(first.strides[0]);
    if ([1, 2, 3].includes(first.dilation[0])) dilation.set(first.dilation[0]);
    const byName = { [span - 1]: "full", [Math.floor((span - 1) / 2)]: "same", 0: "valid" };
    const [, height] = chosen.network.shapeOf(first.of[0]);
    if (height === DATA.size[0] && byName[first.before[0]]) padding.set(byName[first.before[0]]);
  }

  function changed() {
    x = chosen.network ? chosen.network.firstInput(state.image) : state.image;
    map = mapOf(x, chosen.kernel, chosen.feature, options());
    unit = [Math.floor(map.shape[0] / 2), Math.floor(map.shape[1] / 2)];
    filled = map.data.length > 0 ? unit[0] * map.shape[1] + unit[1] + 1 : 0;
    input.step = stride.value;
    pause();
    draw();
  }

  function play() {
    playing = true;
    if (filled >= map.data.length) filled = 0;
    byId("play").textContent = "Pause";
    byId("sum").setAttribute("aria-live", "off");
    let last = performance.now();
    requestAnimationFrame(function frame(now) {
      if (!playing) return;
      const steps = Math.floor(((now - last) / 1000) * Number(byId("speed").value));
      if (steps > 0) {
        last = now;
        step(steps, true);
      }
      if (filled >= map.data.length) pause();
      else requestAnimationFrame(frame);
    });
  }

  function pause() {
    playing = false;
    byId("play").textContent = "Play";
    byId("sum").setAttribute("aria-live", "polite");
  }

  function step(count, keep = false) {
    if (!keep) pause();
    fillTo(filled + count);
  }

  function fillTo(count) {
    filled = Math.max(0, Math.min(map.data.length, count));
    const last = Math.max(filled - 1, 0);
    if (map.data.length > 0) unit = [Math.floor(last / map.shape[1]), last % map.shape[1]];
    draw();
  }

  function playKey(event) {
    if (event.key !== " ") return false;
    if (playing) pause();
    else play();
    return true;
  }

  function overMap(row, column) {
    if (map.data.length === 0) return;
    pause();
    unit = [row, column];
    draw();
  }

  function overInput(row, column) {
    const nearest = (place, axis) => {
      const size = chosen.kernel.shape[axis];
      const [before] = padsOf(padding.value, size, dilation.value);
      const u = Math.round((place + before - (spanOf(size, dilation.value) - 1) / 2) / stride.value);
      return Math.max(0, Math.min(map.shape[axis] - 1, u));
    };
    if (map.data.length > 0) overMap(nearest(row, 0), nearest(column, 1));
  }

  function draw() {
    const { kernel } = chosen;
    writeSize(map, x, kernel, options());
    const fits = map.data.length > 0;
    const terms = fits ? termsAt(x, kernel, chosen.feature, unit, options()) : [];
    drawInput(input, terms, kernel, options());
    drawMap(output, map, unit, filled);
    writeTerms(terms, unit, kernel, chosen.network);
  }

  return { draw };
}

// Kernels that were learned, network by network, then those to choose beside them; also filled into the list.
function kernelChoices(networks) {
  const found = [];
  const list = byId("kernel");
  const group = (label, choices) => {
    if (choices.length === 0) return;
    list.append(element("optgroup", { label }, ...choices.map((choice) => element("option", {}, choice.label))));
    found.push(...choices);
  };
  for (const network of networks) {
    const kernel = network.firstKernel();
    // Of a grouped convolution each filter reads some channels only, which this part does not show.
    if (!kernel || kernel.shape[2] !== DATA.size[2]) continue;
    const filters = Array.from({ length: kernel.shape[3] }, (_, feature) => ({ label: `${network.name}: filter ${feature + 1}`, kernel, feature, network }));
    group(`First layer of ${network.name}`, filters);
  }
  const channels = DATA.size[2];
  const plain = DATA.kernels.map(({ name, weights }) => {
    const [rows, columns] = [weights.length, weights[0].length];
    const data = Float32Array.from(weights.flat().flatMap((weight) => Array(channels).fill(weight / channels)));
    return { label: name, kernel: array([rows, columns, channels, 1], data), feature: 0, network: null };
  });
  group("Chosen", plain);
  return found;
}
