"""From a split to a lane: the split in force, and what a router knows of it."""
