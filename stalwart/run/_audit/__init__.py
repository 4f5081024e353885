"""The checks of an audit: what makes a robustness figure not to be believed."""
