"""cprspec: train video encoders without labels by mining positives."""

__version__ = "0.1.0"
