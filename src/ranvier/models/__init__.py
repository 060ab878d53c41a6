"""Models: networks that are compiled, trained, evaluated, summed up, saved and loaded."""

from ranvier.models.model import Model
from ranvier.models.saving import load_model
from ranvier.models.sequential import Sequential

__all__ = ["Model", "Sequential", "load_model"]
