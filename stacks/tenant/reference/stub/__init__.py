"""The control-plane stub: what the tenant and replays ask of the product's control plane, and a journal of it."""
