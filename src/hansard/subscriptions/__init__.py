"""Reading on for ever: first what is there, then what comes."""
