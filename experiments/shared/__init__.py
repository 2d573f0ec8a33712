"""What several experiments share, each under the name of what it is."""
