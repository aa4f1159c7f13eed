"""Play what a real program was recorded to answer against another one, and say where the two differ."""
