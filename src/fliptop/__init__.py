"""fliptop: an AWS Lambda extension for people who send their telemetry to Datadog."""

__version__ = "0.1.0"
