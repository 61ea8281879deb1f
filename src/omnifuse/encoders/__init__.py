"""Encoders: arrays of the present rows of one input to tokens. One file an idea."""

from omnifuse.encoders.audio import ConvAudioEncoder, TransformerAudioEncoder
from omnifuse.encoders.conformer import ConformerAudioEncoder
from omnifuse.encoders.date import DateEncoder
from omnifuse.encoders.image import ConvImageEncoder, TransformerImageEncoder
from omnifuse.encoders.place import PlaceEncoder
from omnifuse.encoders.projector import Projectors, SharedTrunk
from omnifuse.encoders.registry import DEFAULT_ENCODERS, ENCODERS, EncoderOptions, encoder_entry
from omnifuse.encoders.series import ConvSeriesEncoder, PatchSeriesEncoder
from omnifuse.encoders.table import TableEncoder
from omnifuse.encoders.table_mlp import TableMLPEncoder
from omnifuse.encoders.tags import TagsEncoder
from omnifuse.encoders.text import TextEncoder
from omnifuse.encoders.video import FrameVideoEncoder, SpaceTimeVideoEncoder

__all__ = [
    "DEFAULT_ENCODERS",
    "ENCODERS",
    "ConformerAudioEncoder",
    "ConvAudioEncoder",
    "ConvImageEncoder",
    "ConvSeriesEncoder",
    "DateEncoder",
    "EncoderOptions",
    "FrameVideoEncoder",
    "PatchSeriesEncoder",
    "PlaceEncoder",
    "Projectors",
    "SharedTrunk",
    "SpaceTimeVideoEncoder",
    "TableEncoder",
    "TableMLPEncoder",
    "TagsEncoder",
    "TextEncoder",
    "TransformerAudioEncoder",
    "TransformerImageEncoder",
    "encoder_entry",
]
