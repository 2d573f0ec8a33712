"""Which pixels a unit reads, how much each of them weighs, and where the units of a map lie."""
