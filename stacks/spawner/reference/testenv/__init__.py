"""Starts a backend for one test, on whatever engine, and waits until both of its ports answer."""
