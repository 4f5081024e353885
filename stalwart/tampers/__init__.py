"""Who changes what a driver's sensors see: one file is one attack."""
