"""What Lambda speaks: the Extensions API, the Telemetry API and its records."""
