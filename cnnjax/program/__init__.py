"""Reading traced programs: what a jaxpr computes, from what and in which order, and the same program run otherwise.

Nothing here knows what is measured: `cnnjax.analysis` does.

- `tracing`: the program of a function; one line where the arguments do not suit it
- `walk`, `calls`: through a program's equations in order, and the calls that hold other programs
- `primitives`, `copies`: which operations are known, and which of them only hand numbers on
- `multiply_adds`: the products of an equation
- `dataflow`: what an array is made of, each piece of work claimed once
- `equations`: who makes and who reads an array, through calls, branches and loops
- `order`: results with their layers in forward order
- `names`: what the arrays of a result are called, in the order of computation
- `evaluate`, `intervene`: a program with some equations run otherwise, or its activations replaced
- `linear_rules`: which arrays are linear or affine in the operands
- `reach`: which pixels each array reads
- `windows`, `window_rules`: signals on the way back from single units, in the windows that these read
"""
