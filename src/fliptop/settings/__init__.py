"""One model, its sources, and the rules that send a configuration to legacy."""
