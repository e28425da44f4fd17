"""Between the pipelines and the intake: sealed payloads, ceilings, retry and the ledger."""
