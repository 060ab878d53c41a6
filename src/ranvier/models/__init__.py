"""Models: networks that are compiled, trained, evaluated, summed up, saved and loaded."""

from ranvier.models.model import Model
from ranvier.models.saving import SaveError, load_model
from ranvier.models.sequential import Sequential

__all__ = ["Model", "SaveError", "Sequential", "load_model"]
