"""Raw outputs and calibration to answers. No torch here: training, server and edge share it."""

from omnifuse.readout.predictions import make_predictions
from omnifuse.readout.raw import RawOutputs, concatenate
from omnifuse.readout.target_readout import TargetReadout, subset_name

__all__ = ["RawOutputs", "TargetReadout", "concatenate", "make_predictions", "subset_name"]
