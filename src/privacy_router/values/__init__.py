"""What the other packages speak of, as plain values (pure): below them all."""
