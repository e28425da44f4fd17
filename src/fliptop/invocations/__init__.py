"""The trace of an invocation: what its event says about where it came from, and the span that stands for it."""
