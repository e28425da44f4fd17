"""Traces: what tracers send to the trace agent's port becomes payloads for Datadog. Loaded with the first of them."""
