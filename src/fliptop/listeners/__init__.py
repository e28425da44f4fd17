"""Local endpoints: what functions, tracers and the platform speak to."""
