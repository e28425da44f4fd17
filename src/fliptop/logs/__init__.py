"""The logs signal: records become entries, entries become sealed payloads."""
