"""The policy file: how people say by what a rollout is judged and how it goes forward."""
