"""The harness of a stack that runs on the controller's own engine: its topology, its edge, its life."""
