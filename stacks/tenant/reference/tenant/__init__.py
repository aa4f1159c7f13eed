"""The builtin tenant: small, wire-compatible with the recorded server, on PostgreSQL and Redis."""
