"""Which pixels have to do with a unit, which images excite it, and how far such pictures can be believed."""
