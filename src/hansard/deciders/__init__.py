"""Decisions: from what has happened and what is wanted to what happens next, without being overtaken."""
