"""The engine: desired against observed, changes as one transaction over all plugins."""
