"""Who looks for what a driver cannot do."""
