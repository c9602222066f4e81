"""The SQLite engine: one file is one log, for many threads and processes."""
