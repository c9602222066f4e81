"""Other libraries on our engines: one package a library, imported only by those who have it."""
