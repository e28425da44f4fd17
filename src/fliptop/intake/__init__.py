"""What Datadog speaks: HTTP, encodings and answers."""
