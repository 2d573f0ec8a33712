"""Where images come from, one short file each."""
