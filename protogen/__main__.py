"""`python -m protogen`, and the `protogen` script."""

import gc

# Importing and building make many objects and hardly any garbage: a collection every 700 of them is wasted time.
gc.set_threshold(50_000)

from .cli import main  # noqa: E402

if __name__ == "__main__":
    main()
