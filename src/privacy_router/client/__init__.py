"""How programs ask op-dbus, and what they are told: names, typed rows, errors, the bus."""
