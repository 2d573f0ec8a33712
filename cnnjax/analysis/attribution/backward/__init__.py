"""From a unit back to the pixels: other derivatives at rectifiers and pools, and projections by them."""
