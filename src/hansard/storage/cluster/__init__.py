"""A cluster: a replicated log that exists already (NATS JetStream), and a whole store on every node."""
