"""`python -m webdnn`: the command line."""

from .cli import main

main()
