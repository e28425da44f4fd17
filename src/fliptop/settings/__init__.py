"""One declaration of the settings, its sources, two readers, and the rules that send a configuration to legacy."""
