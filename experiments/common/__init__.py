"""What experiments share: a network and a protocol as options, and the sweep over cells."""
