"""The keeper: the small program on a machine that makes "put everything back" true without us."""

VERSION = "0.1.0"
