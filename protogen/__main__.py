"""Entry point of `python -m protogen` and of the `protogen` script."""

import gc

# Importing and building create many objects and hardly any garbage: collecting after every 700 of them wastes time.
gc.set_threshold(50_000)

from .cli import main  # noqa: E402

if __name__ == "__main__":
    main()
