"""The commands, and how they show what they did."""
