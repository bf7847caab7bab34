"""All flow tables: declared once, compiled from the configuration, explained in words."""
