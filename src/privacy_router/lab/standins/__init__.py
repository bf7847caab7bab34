"""Stand-ins that speak the protocols of the services that the lab cannot reach."""
