"""The node itself: what is read from the machine, what is changed on it, and who keeps watch."""
