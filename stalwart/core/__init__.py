"""Floor 0: the contracts, the catalog and its spelling, errors, random numbers, and what several rooms share."""
