"""The engine that is a Hansard server elsewhere: the port's verbs over its HTTP interface. Nothing but the standard library."""
