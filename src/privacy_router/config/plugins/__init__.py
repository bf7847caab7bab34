"""The sections of the plugins that keep the machine itself, one module each."""
