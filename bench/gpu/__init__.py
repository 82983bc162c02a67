"""The comparison on a real graphics card. See README.md in this folder."""
