"""Programs that hold recurlm to its promises for longer than a test may take; each has a short test of its own."""
