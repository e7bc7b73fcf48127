"""Entry point of `python -m protogen` and of the `protogen` script."""

import gc
import os
import sys
from contextlib import suppress

# Importing and building create many objects and hardly any garbage: collecting after every 700 of them wastes time.
gc.set_threshold(50_000)

try:
    from .cli import main as run
except KeyboardInterrupt:  # `run` itself reports it as the commands do
    raise SystemExit(130) from None


def main() -> None:
    """Run the command line. After success, end at once if PyTorch is there: Python would take it apart for half a second."""
    try:
        run()
    except SystemExit as end:
        if end.code or "torch" not in sys.modules:
            raise
        with suppress(OSError, ValueError):  # what cannot be written, Python reports when it ends
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(0)
        raise


if __name__ == "__main__":
    main()
