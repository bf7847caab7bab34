"""What a command answers and does in its own process, where no op-dbus on a bus does it."""
