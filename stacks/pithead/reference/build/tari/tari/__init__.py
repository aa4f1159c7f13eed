"""Stand-in for a Tari base node: the four calls of its gRPC that the stack makes, over a chain that only counts."""
