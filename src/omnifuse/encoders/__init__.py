"""Encoders: arrays of the present rows of one input to tokens. One file an idea."""

from omnifuse.encoders.audio import ConvAudioEncoder, TransformerAudioEncoder
from omnifuse.encoders.date import DateEncoder
from omnifuse.encoders.image import ConvImageEncoder, TransformerImageEncoder
from omnifuse.encoders.projector import Projectors, SharedTrunk
from omnifuse.encoders.registry import DEFAULT_ENCODERS, ENCODERS, EncoderOptions, encoder_entry
from omnifuse.encoders.table import TableEncoder
from omnifuse.encoders.text import TextEncoder
from omnifuse.encoders.video import FrameVideoEncoder, SpaceTimeVideoEncoder

__all__ = [
    "DEFAULT_ENCODERS",
    "ENCODERS",
    "ConvAudioEncoder",
    "ConvImageEncoder",
    "DateEncoder",
    "EncoderOptions",
    "FrameVideoEncoder",
    "Projectors",
    "SharedTrunk",
    "SpaceTimeVideoEncoder",
    "TableEncoder",
    "TextEncoder",
    "TransformerAudioEncoder",
    "TransformerImageEncoder",
    "encoder_entry",
]
