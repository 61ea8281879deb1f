"""Layers shared by encoders, fusions and heads."""

from omnifuse.layers.attention import Attention, GatedBlock, TransformerBlock
from omnifuse.layers.batch_ensemble import BatchEnsembleLinear
from omnifuse.layers.conformer import ConformerBlock, ConvSubsampling
from omnifuse.layers.convolution import ChannelNorm, ConvBlock
from omnifuse.layers.cross import CrossAttention, CrossBlock
from omnifuse.layers.decoder import DecoderState, TextDecoder
from omnifuse.layers.dropout import ChannelDropout, Dropout
from omnifuse.layers.mlp import MLP
from omnifuse.layers.pooling import POOLINGS, AttentionPool, MaxPool, MeanPool, WeightedPool
from omnifuse.layers.positions import sinusoids
from omnifuse.layers.stochastic_depth import StochasticDepth, set_stochastic_depth

__all__ = [
    "MLP",
    "POOLINGS",
    "Attention",
    "AttentionPool",
    "BatchEnsembleLinear",
    "ChannelDropout",
    "ChannelNorm",
    "ConformerBlock",
    "ConvBlock",
    "ConvSubsampling",
    "CrossAttention",
    "CrossBlock",
    "DecoderState",
    "Dropout",
    "GatedBlock",
    "MaxPool",
    "MeanPool",
    "StochasticDepth",
    "TextDecoder",
    "TransformerBlock",
    "WeightedPool",
    "set_stochastic_depth",
    "sinusoids",
]
