"""Stand-in for the pool that miners mine on when nobody borrows them: real stratum, no chain behind it."""
