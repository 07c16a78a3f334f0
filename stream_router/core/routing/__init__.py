"""From a split to a lane: the law, and what a router knows of it."""
