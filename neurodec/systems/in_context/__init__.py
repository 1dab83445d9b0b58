"""The in-context system: meta-training, people and their encoders, categories."""
