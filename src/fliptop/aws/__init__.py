"""The few AWS calls that resolve an API key, signed by hand: an SDK would cost more than everything else together."""
