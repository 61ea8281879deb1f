"""The public verbs in Python: fit, pretrain, load, inspect and the Model they give."""

from omnifuse.api.fitting import fit
from omnifuse.api.inspection import inspect
from omnifuse.api.model import Model
from omnifuse.api.pretraining import pretrain
from omnifuse.api.store import load_model as load

__all__ = ["Model", "fit", "inspect", "load", "pretrain"]
