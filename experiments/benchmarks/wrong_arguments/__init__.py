"""Every public function with one argument wrong at a time: it gives a value or one line, never an error of its inside.

- `values`: the natural mistakes, made from an argument that is right
- `calls`: a small valid call of every public function, from a module for each package
- `matrix`: every function, every argument, every mistake; what comes of it
"""
