"""Canary releases for ML models over Kafka."""

__version__ = "0.1.0"
