"""Stand-in for a backend that starts a container of its own for every game."""
