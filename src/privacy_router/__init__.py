"""Privacy Router: one JSON file turns a node into a multi-hop privacy router."""

__version__ = "0.1.0"
