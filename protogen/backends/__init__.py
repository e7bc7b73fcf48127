"""Engines that `protogen.verify` runs nets through, each in a file of its own."""
