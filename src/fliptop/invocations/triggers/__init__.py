"""Where an event comes from: the catalogue of triggers, and what each one's events say.

Source: extension-behaviour, 8.9 and 8.10. Unlike there, what an event leaves out costs the tag that it would have been,
not the span.
"""
