"""Drivers that set a mark for others: what following a lane and minding others comes to."""
