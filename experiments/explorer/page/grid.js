// A picture of cells: drawn on a canvas, read by pointer, touch or arrow keys.

class Grid {
  // `onMove(row, column)` is told the cell that is pointed at, `onKey(event)` may take other keys.
  constructor(canvas, { label, onMove, onKey }) {
    this.canvas = typeof canvas === "string" ? byId(canvas) : canvas;
    this.onMove = onMove;
    this.onKey = onKey;
    this.rows = this.columns = this.step = 1;
    this.first = [0, 0];
    this.cursor = [0, 0];
    this.canvas.setAttribute("role", onMove ? "application" : "img");
    this.canvas.setAttribute("aria-label", label);
    if (!onMove) return;
    this.canvas.tabIndex = 0;
    for (const name of ["pointermove", "pointerdown"]) this.canvas.addEventListener(name, (event) => this.pointed(event));
    this.canvas.addEventListener("keydown", (event) => this.keyed(event));
  }

  // Draws `rows` × `columns` cells from the index `first` on, each of color(row, column), null for paper; then marks.
  draw({ rows, columns, first = [0, 0], color, marks, resolution = 640 }) {
    Object.assign(this, { rows, columns, first });
    this.cell = Math.max(2, Math.min(64, Math.floor(resolution / Math.max(rows, columns))));
    this.canvas.width = columns * this.cell;
    this.canvas.height = rows * this.cell;
    this.canvas.style.setProperty("aspect-ratio", `${columns} / ${rows}`);
    const context = this.canvas.getContext("2d");
    for (let r = 0; r < rows; r++) {
      for (let c = 0; c < columns; c++) {
        const fill = color(r + first[0], c + first[1]);
        if (fill === null) continue;
        context.fillStyle = fill;
        context.fillRect(c * this.cell, r * this.cell, this.cell, this.cell);
      }
    }
    if (marks) marks(this);
  }

  // A frame around the cells from (top, left) to (bottom, right), both included; `thickness` is in pixels of the screen.
  frame([top, left, bottom, right], color, { thickness = 2, dashed = false } = {}) {
    const context = this.canvas.getContext("2d");
    const size = this.cell;
    const width = (thickness * this.canvas.width) / (this.canvas.clientWidth || this.canvas.width);
    context.strokeStyle = color;
    context.lineWidth = width;
    context.setLineDash(dashed ? [3 * width, 2 * width] : []);
    const [x, y] = [(left - this.first[1]) * size, (top - this.first[0]) * size];
    const [w, h] = [(right - left + 1) * size, (bottom - top + 1) * size];
    context.strokeRect(x + width / 2, y + width / 2, w - width, h - width);
    context.setLineDash([]);
  }

  // Covers a cell with a colour, more or less.
  cover(row, column, color, opacity) {
    const context = this.canvas.getContext("2d");
    context.globalAlpha = opacity;
    context.fillStyle = color;
    context.fillRect((column - this.first[1]) * this.cell, (row - this.first[0]) * this.cell, this.cell, this.cell);
    context.globalAlpha = 1;
  }

  pointed(event) {
    const box = this.canvas.getBoundingClientRect();
    const column = Math.floor(((event.clientX - box.left) / box.width) * this.columns);
    const row = Math.floor(((event.clientY - box.top) / box.height) * this.rows);
    this.go(row + this.first[0], column + this.first[1]);
  }

  keyed(event) {
    const steps = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
    const step = steps[event.key];
    if (!step && !this.onKey?.(event)) return;
    event.preventDefault();
    if (step) this.go(this.cursor[0] + step[0] * this.step, this.cursor[1] + step[1] * this.step);
  }

  go(row, column) {
    const clipped = (place, first, count) => Math.max(first, Math.min(first + count - 1, place));
    this.cursor = [clipped(row, this.first[0], this.rows), clipped(column, this.first[1], this.columns)];
    this.onMove(...this.cursor);
  }
}
