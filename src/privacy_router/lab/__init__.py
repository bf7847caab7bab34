"""The lab: hosts as network namespaces on one machine, with stand-ins for the services."""
