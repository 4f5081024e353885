"""What scenarios are made of: worlds with everyone in place, actors that follow a script, and named suites."""
