"""The plugins of op-dbus: each keeps one domain of the machine as the document says."""
