"""`python -m hansard` is the command `hansard`."""

from hansard.cli.main import run

run()
