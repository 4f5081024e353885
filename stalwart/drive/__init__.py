"""The driving world: thousands of roads side by side, and what a car's sensors see of them."""
