"""Named readers of the log that keep a checkpoint: who reads what, what happens when a handler fails, what runs them."""
