// Running a network: the operations of its tape one after the other.

function perform(operation, operands) {
  const { op, shape } = operation;
  switch (op) {
    case "conv":
      return convolve(operands[0], operands[1], operation, shape);
    case "window":
      return slide(operands[0], operation, shape);
    case "argmax":
      return placesOfLargest(operands[0], operation.axis, shape);
    case "matmul":
      return multiply(operands[0], operands[1], shape);
    case "reshape":
      return operands[0].data;
    case "view":
      return viewed(operation, operands[0], shape);
    case "pad":
      return padded(operands[0], operands[1].data[0], operation, shape);
    case "concatenate":
      return concatenated(operands, operation.axis, shape);
    default:
      return each(operation, operands, shape);
  }
}

class Network {
  constructor(described) {
    Object.assign(this, described);
    this.constants = floats(described.constants);
    const first = this.operations.findIndex((operation) => operation.op === "conv" && Array.isArray(operation.of[1]));
    this.first = this.operations[first] ?? null;
  }

  shapeOf(number) {
    return number === 0 ? [1, ...DATA.size] : this.operations[number - 1].shape;
  }

  operand(of, made) {
    if (!Array.isArray(of)) return made[of];
    const [offset, shape] = of;
    return array(shape, this.constants.subarray(offset, offset + sizeOf(shape)));
  }

  // Every array that the network makes of an image (1, height, width, channels) with pixels in [0, 1].
  run(image) {
    const made = [image];
    for (const operation of this.operations) {
      const operands = operation.of.map((of) => this.operand(of, made));
      made.push(array(operation.shape, perform(operation, operands)));
    }
    return made;
  }

  // The activations by name.
  activations(image) {
    const made = this.run(image);
    return Object.fromEntries(Object.entries(this.outputs).map(([name, number]) => [name, made[number]]));
  }

  // The kernel of the first convolution (rows, columns, channels, features), and what it reads of an image.
  firstKernel() {
    return this.first && this.operand(this.first.of[1], []);
  }

  // Where the border has content it has been added to the map, which is then looked for before that.
  firstInput(image) {
    const made = this.run(image);
    let number = this.first.of[0];
    while (String(made[number].shape) !== String(image.shape)) number -= 1;
    return made[number];
  }
}

function softmax(logits) {
  const largest = Math.max(...logits);
  const powers = Array.from(logits, (logit) => Math.exp(logit - largest));
  const total = powers.reduce((sum, power) => sum + power, 0);
  return powers.map((power) => power / total);
}
