"""What tracers, profilers and their like send for products that want it as it is. Loaded with the first of it."""
