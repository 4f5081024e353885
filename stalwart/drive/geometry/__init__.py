"""Lines, arcs and clothoids; lanes and how they hang together; the ground that they paint."""
