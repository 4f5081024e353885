"""Controllers: from where a car is and should be to acceleration and steering angle. Whole batches at once."""
