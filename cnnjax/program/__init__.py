"""Reading traced programs: what a jaxpr computes, from what and in which order, and the same program run otherwise.

Nothing here knows what is measured: `cnnjax.analysis` does.
"""
