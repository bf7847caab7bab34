"""op-dbus: the controller as a service."""
