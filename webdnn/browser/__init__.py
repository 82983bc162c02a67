"""A descriptor in a real browser: serving, checking, timing. Nothing of the compiler needs this."""
