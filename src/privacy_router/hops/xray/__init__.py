"""The XRay hop: identity, settings of both ends, and the process. No imports here, as above it."""
