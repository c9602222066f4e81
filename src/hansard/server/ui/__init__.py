"""The web page: what is in the store, drawn by the server. Works without a network, and without JavaScript but for what is live."""
