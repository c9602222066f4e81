"""The HTTP interface: each module holds the operations of one thing. docs/server.md and /openapi.json are made from them."""
