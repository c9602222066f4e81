"""The PostgreSQL engine: many logs in one database, each ordered by its head row."""
