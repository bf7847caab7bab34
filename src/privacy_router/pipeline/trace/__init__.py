"""What becomes of a packet: through our tables, and through those of a switch that runs."""
