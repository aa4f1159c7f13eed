"""The command line of the stack: standard library only, pure decisions apart from what touches the host."""
