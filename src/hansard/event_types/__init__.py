"""Typed events: classes with a name on the wire, and the chains that bring old shapes to the present ones."""
