"""From a model's answer to a prediction."""
