"""The harness of an experiment that trains networks: cells that a killed run goes on from, and what is made of them."""
