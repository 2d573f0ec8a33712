"""Speed against a peer, measured in the same run, as a ratio with its spread."""
