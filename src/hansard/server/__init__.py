"""The server: a store for many programs and languages, over HTTP. Needs hansard[server]."""
