"""The controller on D-Bus, as `org.opdbus`; docs/dbus.md has all that it offers."""
