"""Weights in and out: published checkpoints to our layout, a run's encoder as files that stand alone, embeddings."""
