"""Each kind of item: how it is read, made and taken away."""
