"""Events and service checks: what happened, and how something is."""
