"""Decision problems of our own, many of each side by side. Gymnasium's are named by their id."""
