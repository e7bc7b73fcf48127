"""`python -m protogen`, and the `protogen` script."""

from .cli import main

if __name__ == "__main__":
    main()
