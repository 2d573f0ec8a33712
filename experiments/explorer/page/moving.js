// The image is dragged and turned, and the scores of the networks follow.

function movingPart(networks) {
  const at = { down: 0, right: 0, degrees: 0 };
  const mode = choose("drag", ["shift", "turn"], "shift", () => {}, (name) => `${name}s it`);
  const picture = new Grid("moved", { label: "The moved image" });
  const { canvas } = picture;
  const panels = networks.map((network, i) => new Scores(network, SERIES[i % SERIES.length]));
  const sliders = Object.keys(at).map((name) => byId(name));
  let waiting = false;
  let moved = null;

  byId("panels").append(...panels.map((panel) => panel.element));
  const names = [...new Set(networks.flatMap((network) => network.layers.map((layer) => layer.name)))];
  byId("layer").append(...names.map((name) => element("option", {}, name)));
  byId("layer").addEventListener("change", draw);
  const farthest = Math.max(...DATA.size.slice(0, 2)) - 1;
  for (const slider of sliders) {
    if (slider.id !== "degrees") Object.assign(slider, { min: -farthest, max: farthest });
    slider.addEventListener("input", () => go({ [slider.id]: Number(slider.value) }));
  }
  pressed("reset", () => go({ down: 0, right: 0, degrees: 0 }));
  dragged(canvas, () => ({ ...at }), () => mode.value, go);
  canvas.setAttribute("role", "application");
  canvas.setAttribute("aria-label", "The moved image; arrow keys shift it, Page Up and Page Down turn it, Home brings it back");
  canvas.addEventListener("keydown", (event) => {
    const steps = {
      ArrowUp: { down: at.down - 1 },
      ArrowDown: { down: at.down + 1 },
      ArrowLeft: { right: at.right - 1 },
      ArrowRight: { right: at.right + 1 },
      PageUp: { degrees: at.degrees + 5 },
      PageDown: { degrees: at.degrees - 5 },
      Home: { down: 0, right: 0, degrees: 0 },
    };
    if (!steps[event.key]) return;
    event.preventDefault();
    go(steps[event.key]);
  });
  follow(() => go({ down: 0, right: 0, degrees: 0 }));
  const curve = curvePart(networks, at);

  function go(where) {
    const clipped = (place) => Math.max(-farthest, Math.min(farthest, Math.round(place)));
    const next = { ...at, ...where };
    Object.assign(at, { down: clipped(next.down), right: clipped(next.right), degrees: turned(next.degrees) });
    for (const slider of sliders) slider.value = at[slider.id];
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => {
      waiting = false;
      draw();
    });
  }

  function draw() {
    moved = move(state.image, at);
    const [, rows, columns] = moved.shape;
    picture.draw({ rows, columns, color: (r, c) => pixelColor(moved, r, c) });
    byId("where").textContent = `${shown(at.down, 0)} px down, ${shown(at.right, 0)} px right, turned by ${shown(at.degrees, 0)}°`;
    for (const panel of panels) panel.show(moved, byId("layer").value);
    curve.follow();
  }

  return { draw, at };
}

// Whole degrees from −179 to 180.
function turned(degrees) {
  const round = ((Math.round(degrees) % 360) + 360) % 360;
  return round > 180 ? round - 360 : round;
}

// One pointer shifts or turns, two turn; `go` is told where to.
function dragged(canvas, where, mode, go) {
  const pointers = new Map();
  let begin = null;

  const angle = () => {
    const box = canvas.getBoundingClientRect();
    const [a, b = { x: box.left + box.width / 2, y: box.top + box.height / 2 }] = [...pointers.values()];
    return (Math.atan2(b.y - a.y, a.x - b.x) * 180) / Math.PI;
  };
  const restart = () => {
    const [first] = pointers.values();
    begin = first ? { ...where(), x: first.x, y: first.y, angle: angle() } : null;
  };
  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    pointers.set(event.pointerId, { x: event.clientX, y: event.clientY });
    restart();
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!pointers.has(event.pointerId)) return;
    pointers.set(event.pointerId, { x: event.clientX, y: event.clientY });
    if (pointers.size > 1 || mode() === "turn" || event.shiftKey) {
      go({ degrees: begin.degrees + angle() - begin.angle });
      return;
    }
    const pixel = canvas.getBoundingClientRect().width / DATA.size[1];
    go({ down: begin.down + (event.clientY - begin.y) / pixel, right: begin.right + (event.clientX - begin.x) / pixel });
  });
  for (const name of ["pointerup", "pointercancel"]) {
    canvas.addEventListener(name, (event) => {
      pointers.delete(event.pointerId);
      restart();
    });
  }
}
