// All parts together. `explorer` is for the browser's console, and for tests: what the page computes with.

const networks = DATA.networks.map((described) => new Network(described));

picturesPart();
const parts = [slidingPart(networks), fieldsPart(networks), movingPart(networks), matricesPart(networks)];
useImage(carriedImage(0), DATA.labels[0], titleOf(0));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => parts.forEach((part) => part.draw()));

globalThis.explorer = { Network, networks, state, array, carriedImage, convolutionMatrix, fieldOf, mapOf, move, outputSize, rotate, shift };
