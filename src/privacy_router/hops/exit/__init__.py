"""The host's exit: the way out of a chain without WARP."""
