"""Entry point of `python -m protogen` and of the `protogen` script."""

import gc

# Importing and building create many objects and hardly any garbage: collecting after every 700 of them wastes time.
gc.set_threshold(50_000)

try:
    from .cli import main
except KeyboardInterrupt:  # `main` itself reports it as the commands do
    raise SystemExit(130) from None

if __name__ == "__main__":
    main()
