"""The hops of the chain. No imports here: the process that is XRay starts through this package."""
