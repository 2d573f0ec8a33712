"""Which seeds an experiment's networks have, as options."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Seeds:
    """Options of an experiment whose networks have seeds: a base of its config."""

    seeds: int = 5
    """Networks in each cell."""
    first_seed: int = 0
    """The seed of the first; the others' follow it."""

    @property
    def numbers(self) -> range:
        """The seeds of the networks of a cell."""
        return range(self.first_seed, self.first_seed + self.seeds)
