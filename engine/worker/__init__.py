"""Makes units on one device, without Ray."""
