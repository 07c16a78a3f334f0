"""From predictions and labels to evidence."""
