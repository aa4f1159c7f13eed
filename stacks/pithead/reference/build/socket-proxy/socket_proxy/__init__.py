"""Stand-in for a filtering proxy in front of the engine's socket."""
