"""What a node should be: pure functions from a configuration and its keys to a desired state."""
