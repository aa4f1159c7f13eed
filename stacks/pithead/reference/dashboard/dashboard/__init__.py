"""Stand-in for the dashboard: polls everything, tells it at /api/state, and stops or starts the miners' door with the node."""
