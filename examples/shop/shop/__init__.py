"""A small shop on Hansard."""
