"""One module per command of ``fliptop-lab``, and what they share."""
