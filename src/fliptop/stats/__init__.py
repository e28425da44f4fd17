"""APM statistics that tracers have computed. Loaded with the first of them."""
