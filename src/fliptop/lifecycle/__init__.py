"""An environment's life: events, milestones, deadlines."""
