"""Every layer type protogen knows: what one is (base.py), the table of them (registry.py), and the families, one a file."""
