"""The port and the engines behind it."""
