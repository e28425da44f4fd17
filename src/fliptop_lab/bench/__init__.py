"""Measurements that anyone can repeat: everything to be compared runs in turns, in one session, in random order."""
