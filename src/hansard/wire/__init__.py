"""How values look in JSON, over the network and in exports. Pure. The server and its clients read and write the same forms."""
