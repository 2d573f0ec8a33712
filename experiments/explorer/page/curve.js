// The right class's probability at every angle, for the shift that the image has; drawn when the image is at rest.

const ANGLES = Array.from({ length: 37 }, (_, i) => -180 + 10 * i);

function curvePart(networks, at) {
  const canvas = byId("curve");
  let [timer, shifted, about, lines] = [0, "", null, []];
  byId("curve-legend").append(
    ...networks.map((network, i) => {
      const key = element("i");
      key.style.setProperty("background", SERIES[i % SERIES.length]);
      return element("span", {}, key, network.name);
    }),
  );

  // Computes an angle at a time, so that the page stays quick; what has moved meanwhile begins anew.
  function follow() {
    const now = `${at.down} ${at.right}`;
    if (now === shifted && about === state.image) {
      draw();
      return;
    }
    [shifted, about] = [now, state.image];
    lines = networks.map(() => []);
    clearTimeout(timer);
    timer = setTimeout(() => next(0, asked()), 250);
    draw();
  }

  // The class whose probability is drawn: the right one, or what each network says of the image as it is.
  function asked() {
    return networks.map((network) => {
      if (state.label !== null) return state.label;
      const { data } = network.activations(state.image).logits;
      return data.indexOf(Math.max(...data));
    });
  }

  function next(i, classes) {
    const image = move(state.image, { down: at.down, right: at.right, degrees: ANGLES[i] });
    networks.forEach((network, n) => lines[n].push(softmax(network.activations(image).logits.data)[classes[n]]));
    draw();
    if (i + 1 < ANGLES.length) timer = setTimeout(() => next(i + 1, classes), 0);
  }

  function draw() {
    const [width, height, left, bottom] = [Math.max(canvas.clientWidth, 300), 220, 44, 26];
    Object.assign(canvas, { width, height });
    const context = canvas.getContext("2d");
    const x = (degrees) => left + ((degrees + 180) / 360) * (width - left - 12);
    const y = (share) => 8 + (1 - share) * (height - bottom - 14);
    context.font = "13px system-ui, sans-serif";
    context.fillStyle = styled("faint");
    context.strokeStyle = styled("line");
    for (const share of [0, 0.5, 1]) {
      context.fillText(`${100 * share} %`, 0, y(share) + 4);
      stroke(context, [[x(-180), y(share)], [x(180), y(share)]]);
    }
    for (const degrees of [-180, -90, 0, 90, 180]) context.fillText(`${shown(degrees, 0)}°`, x(degrees) - 14, height - 6);
    context.strokeStyle = styled("ink");
    context.setLineDash([3, 4]);
    stroke(context, [[x(at.degrees), y(0)], [x(at.degrees), y(1)]]);
    context.setLineDash([]);
    context.lineWidth = 2.5;
    lines.forEach((line, n) => {
      context.strokeStyle = SERIES[n % SERIES.length];
      stroke(context, line.map((share, i) => [x(ANGLES[i]), y(share)]));
    });
  }

  return { follow };
}

function stroke(context, points) {
  context.beginPath();
  points.forEach(([x, y], i) => (i === 0 ? context.moveTo(x, y) : context.lineTo(x, y)));
  context.stroke();
}
