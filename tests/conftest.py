"""Settings for the whole suite."""

from __future__ import annotations

import os

# Tests run in several processes: one thread each, or they fight for the cores. Must be set before torch is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")
