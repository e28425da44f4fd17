"""The metrics signal: DogStatsD datagrams become samples, samples become points, points become sealed payloads."""
