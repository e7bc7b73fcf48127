"""The layer types: their base class (base.py), the table of all types (registry.py), and one file per family of types."""
