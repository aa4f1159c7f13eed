"""The controller side of Benchkeeper: set-up, supervisor, report."""
