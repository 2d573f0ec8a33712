"""One package for each question; `python -m experiments.NAME --help` tells the question and its options."""
