"""The gateway: where the clients enter."""
