"""The web page: what is in the store, drawn by the server. No network is needed, and JavaScript only for what is live."""
