"""Prototxt text to and from messages: `parse`, the old dialects, phases, and the templates that write."""
