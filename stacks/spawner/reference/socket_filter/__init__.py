"""A filter in front of the engine's socket: looks pass, what is made carries our labels, only what carries them may be removed."""
