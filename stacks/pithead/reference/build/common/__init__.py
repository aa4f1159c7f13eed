"""Protocol code that more than one service of the stack speaks: stratum, monerod's RPC, HTTP, protobuf."""
