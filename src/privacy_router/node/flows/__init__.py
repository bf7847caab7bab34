"""The flows and meters of the node's bridge: compiled, put in force, read back, kept."""
