"""Who may do what: keys, tokens, permissions. Knows no operation."""
