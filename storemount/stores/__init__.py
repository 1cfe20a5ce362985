"""Artifact stores: the protocol (`base`), the flavors by name (`flavors`), and one module per engine."""
