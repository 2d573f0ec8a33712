// The image that all parts of the page show, and the choice of it.

const state = { image: null, label: null, title: "" };
const followers = [];

// Calls `draw` whenever there is another image.
function follow(draw) {
  followers.push(draw);
}

function useImage(image, label, title) {
  Object.assign(state, { image, label, title });
  for (const draw of followers) draw();
}

function carriedImage(number) {
  const [height, width, channels] = DATA.size;
  const size = height * width * channels;
  const pixels = carriedImage.pixels ??= bytes(DATA.images);
  return array([1, height, width, channels], Float32Array.from(pixels.subarray(number * size, (number + 1) * size), (p) => p / 255));
}

function titleOf(number) {
  const label = DATA.labels[number];
  return label === null ? DATA.titles[number] : `${DATA.classes[label]} (${DATA.titles[number]})`;
}

function picturesPart() {
  const list = byId("pictures");
  DATA.labels.forEach((label, number) => {
    const canvas = element("canvas", { "aria-hidden": "true" });
    const button = element("button", { type: "button", "aria-label": titleOf(number), "aria-pressed": String(number === 0) }, canvas);
    const image = carriedImage(number);
    const [, rows, columns] = image.shape;
    new Grid(canvas, { label: "" }).draw({ rows, columns, color: (r, c) => pixelColor(image, r, c), resolution: 96 });
    button.addEventListener("click", () => {
      markChosen(button);
      useImage(image, label, titleOf(number));
    });
    list.append(button);
  });
  byId("own").addEventListener("change", async (event) => {
    const [file] = event.target.files;
    if (!file) return;
    try {
      const image = await imageOfFile(file);
      markChosen(null);
      byId("own-said").textContent = "";
      useImage(image, null, "your image");
    } catch {
      byId("own-said").textContent = "That file is not an image that this browser can read.";
    }
  });
}

function markChosen(button) {
  for (const one of byId("pictures").children) one.setAttribute("aria-pressed", String(one === button));
}

// The middle square of an image file at the networks' size, grey for one channel; resized by the browser.
async function imageOfFile(file) {
  const bitmap = await createImageBitmap(file);
  const [height, width, channels] = DATA.size;
  const canvas = element("canvas", { width, height });
  const side = Math.min(bitmap.width, bitmap.height);
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, (bitmap.width - side) / 2, (bitmap.height - side) / 2, side, side, 0, 0, width, height);
  const { data } = context.getImageData(0, 0, width, height);
  const image = array([1, height, width, channels]);
  for (let pixel = 0; pixel < height * width; pixel++) {
    const [red, green, blue] = [0, 1, 2].map((k) => data[4 * pixel + k] / 255);
    const levels = channels === 1 ? [0.299 * red + 0.587 * green + 0.114 * blue] : [red, green, blue];
    for (let k = 0; k < channels; k++) image.data[pixel * channels + k] = levels[k];
  }
  return image;
}
