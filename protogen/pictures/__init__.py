"""Running a net on a picture: reading and resizing it, and showing the results, drawn where that makes sense.

Only this room imports Pillow, and only when a picture is read or written.
"""

from .forward import run

__all__ = ["run"]
