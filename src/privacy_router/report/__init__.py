"""What is said of a node, worded once: flows, traces, changes, amounts."""
