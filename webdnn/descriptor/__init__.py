"""The graph descriptor: the folder that a page loads."""
