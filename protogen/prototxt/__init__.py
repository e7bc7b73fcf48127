"""Prototxt text to messages and back: parser, upgrades of old dialects, phase rules, and the writer with its templates."""
