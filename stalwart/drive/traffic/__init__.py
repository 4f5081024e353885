"""Traffic: drivers and walkers, how they follow, give way, change lanes, and come and go."""
