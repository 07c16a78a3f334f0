"""From verdicts to what is done about them."""
