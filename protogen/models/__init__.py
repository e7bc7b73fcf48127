"""Published architectures, one file each: `protogen.models.peleenet(size=224)`; `models()` lists them."""

from .peleenet import peleenet, peleenet_solver
from .registry import Model, model, models

__all__ = ["Model", "model", "models", "peleenet", "peleenet_solver"]
