"""The canvas stand-in: a UI that answers one page, so that what reaches it can be seen."""
