"""The hops of a node in their order, and the addresses behind each (pure)."""
