"""The closed table of encoders by name, and those that installed packages add by entry point.

A package adds one by the entry point group `omnifuse.encoders`: a class or function that is called with the fitted
preprocessor of the input and `EncoderOptions`, and has the attribute `modality`. Names found in data or in a model
folder are only ever looked up here; they never become import paths.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.metadata import entry_points
from typing import Any

from torch import nn

from omnifuse.data.backbone import is_backbone
from omnifuse.encoders.audio import ConvAudioEncoder, TransformerAudioEncoder
from omnifuse.encoders.conformer import ConformerAudioEncoder
from omnifuse.encoders.date import DateEncoder
from omnifuse.encoders.image import ConvImageEncoder, TransformerImageEncoder
from omnifuse.encoders.place import PlaceEncoder
from omnifuse.encoders.pretrained import build_pretrained
from omnifuse.encoders.series import ConvSeriesEncoder, PatchSeriesEncoder
from omnifuse.encoders.table import TableEncoder
from omnifuse.encoders.table_mlp import TableMLPEncoder
from omnifuse.encoders.tags import TagsEncoder
from omnifuse.encoders.text import TextEncoder
from omnifuse.encoders.video import FrameVideoEncoder, SpaceTimeVideoEncoder
from omnifuse.errors import InputError, did_you_mean
from omnifuse.schema import Modality

GROUP = "omnifuse.encoders"


@dataclass(frozen=True)
class EncoderOptions:
    """What a preset says to every encoder.

    Attributes:
        dim: Width of the tokens.
        depth: Blocks of a transformer.
        num_heads: Heads of attention.
        dropout: Inside the encoder.
        gated: Gated blocks `E(x) * Attention(E(x))` instead of transformer blocks.
    """

    dim: int
    depth: int = 2
    num_heads: int = 4
    dropout: float = 0.0
    gated: bool = False


@dataclass(frozen=True)
class EncoderEntry:
    """One name: the modality it reads, how it is built, and its description."""

    modality: Modality
    build: Callable[[Any, EncoderOptions], nn.Module]
    words: str


def _deep(options: EncoderOptions) -> dict[str, Any]:
    return {"dim": options.dim, "depth": options.depth, "num_heads": options.num_heads, "dropout": options.dropout}


def _text(preprocessor: Any, options: EncoderOptions) -> nn.Module:
    return TextEncoder(
        vocab_size=preprocessor.vocab_size, pieces=preprocessor.pieces, gated=options.gated, **_deep(options)
    )


def _image_conv(preprocessor: Any, options: EncoderOptions) -> nn.Module:
    return ConvImageEncoder(
        dim=options.dim, height=preprocessor.height, width=preprocessor.width, dropout=options.dropout
    )


def _image_transformer(preprocessor: Any, options: EncoderOptions) -> nn.Module:
    return TransformerImageEncoder(
        height=preprocessor.height, width=preprocessor.width, gated=options.gated, **_deep(options)
    )


def _audio_conv(preprocessor: Any, options: EncoderOptions) -> nn.Module:
    return ConvAudioEncoder(
        dim=options.dim,
        num_mels=preprocessor.num_mels,
        num_columns=preprocessor.num_columns,
        dropout=options.dropout,
    )


def _audio_transformer(preprocessor: Any, options: EncoderOptions) -> nn.Module:
    return TransformerAudioEncoder(
        num_mels=preprocessor.num_mels, num_columns=preprocessor.num_columns, gated=options.gated, **_deep(options)
    )


def _audio_conformer(preprocessor: Any, options: EncoderOptions) -> nn.Module:
    return ConformerAudioEncoder(num_mels=preprocessor.num_mels, num_columns=preprocessor.num_columns, **_deep(options))


def _video(
    encoder: type[FrameVideoEncoder] | type[SpaceTimeVideoEncoder],
) -> Callable[[Any, EncoderOptions], nn.Module]:
    def build(preprocessor: Any, options: EncoderOptions) -> nn.Module:
        size = {"height": preprocessor.height, "width": preprocessor.width}
        return encoder(**size, gated=options.gated, **_deep(options))

    return build


def _table(numbers: str) -> Callable[[Any, EncoderOptions], nn.Module]:
    def build(preprocessor: Any, options: EncoderOptions) -> nn.Module:
        return TableEncoder(
            num_numbers=preprocessor.num_numbers,
            cardinalities=preprocessor.cardinalities,
            edges=preprocessor.edges,
            numbers=numbers,
            **_deep(options),
        )

    return build


def _table_mlp(preprocessor: Any, options: EncoderOptions) -> nn.Module:
    return TableMLPEncoder(
        dim=options.dim,
        num_numbers=preprocessor.num_numbers,
        cardinalities=preprocessor.cardinalities,
        edges=preprocessor.edges,
        depth=options.depth,
        dropout=options.dropout,
    )


def _date(preprocessor: Any, options: EncoderOptions) -> nn.Module:
    return DateEncoder(
        dim=options.dim,
        earliest=preprocessor.earliest,
        latest=preprocessor.latest,
        median=preprocessor.median,
        dropout=options.dropout,
    )


def _place(preprocessor: Any, options: EncoderOptions) -> nn.Module:
    return PlaceEncoder(
        dim=options.dim,
        latitude=preprocessor.latitude,
        longitude=preprocessor.longitude,
        spread_km=preprocessor.spread_km,
        dropout=options.dropout,
    )


def _series_conv(preprocessor: Any, options: EncoderOptions) -> nn.Module:
    return ConvSeriesEncoder(
        dim=options.dim,
        num_channels=preprocessor.num_channels,
        step_s=preprocessor.step_s,
        dropout=options.dropout,
    )


def _tags(preprocessor: Any, options: EncoderOptions) -> nn.Module:
    return TagsEncoder(dim=options.dim, num_ids=preprocessor.num_ids, dropout=options.dropout)


def _series_patch(preprocessor: Any, options: EncoderOptions) -> nn.Module:
    return PatchSeriesEncoder(
        num_channels=preprocessor.num_channels,
        step_s=preprocessor.step_s,
        max_steps=preprocessor.max_steps,
        gated=options.gated,
        **_deep(options),
    )


ENCODERS: dict[str, EncoderEntry] = {
    "text-transformer": EncoderEntry(Modality.TEXT, _text, "transformer over BPE tokens beside a bag of n-grams"),
    "image-conv": EncoderEntry(Modality.IMAGE, _image_conv, "residual convolutional net"),
    "image-transformer": EncoderEntry(
        Modality.IMAGE, _image_transformer, "vision transformer behind a convolutional stem"
    ),
    "audio-conv": EncoderEntry(Modality.AUDIO, _audio_conv, "convolutions over log-mel beside pooled statistics"),
    "audio-transformer": EncoderEntry(
        Modality.AUDIO, _audio_transformer, "transformer behind a convolutional stem over log-mel"
    ),
    "audio-conformer": EncoderEntry(
        Modality.AUDIO, _audio_conformer, "conformer with a token of 40 ms, for transcription"
    ),
    "video-frames": EncoderEntry(
        Modality.VIDEO, _video(FrameVideoEncoder), "convolutions over each frame, attention over time"
    ),
    "video-spacetime": EncoderEntry(
        Modality.VIDEO, _video(SpaceTimeVideoEncoder), "transformer with attention over space and time in turn"
    ),
    "table-piecewise": EncoderEntry(
        Modality.TABLE, _table("piecewise"), "feature-token transformer, piecewise-linear numbers"
    ),
    "table-periodic": EncoderEntry(Modality.TABLE, _table("periodic"), "feature-token transformer, periodic numbers"),
    "table-mlp": EncoderEntry(
        Modality.TABLE, _table_mlp, "16 MLPs with shared weights, a token and a head each, after TabM"
    ),
    "date-cycles": EncoderEntry(Modality.DATE, _date, "hour, weekday and season as circles, and time elapsed"),
    "place-waves": EncoderEntry(Modality.PLACE, _place, "point on the sphere, and waves from the globe to the street"),
    "tags-set": EncoderEntry(Modality.TAGS, _tags, "a token a tag without order, beside the whole set"),
    "series-conv": EncoderEntry(Modality.SERIES, _series_conv, "convolutions over time beside pooled statistics"),
    "series-patch": EncoderEntry(
        Modality.SERIES, _series_patch, "transformer over patches of steps beside pooled statistics"
    ),
}

DEFAULT_ENCODERS: dict[Modality, str] = {
    Modality.TEXT: "text-transformer",
    Modality.IMAGE: "image-conv",
    Modality.AUDIO: "audio-conv",
    Modality.VIDEO: "video-frames",
    Modality.TABLE: "table-piecewise",
    Modality.DATE: "date-cycles",
    Modality.PLACE: "place-waves",
    Modality.TAGS: "tags-set",
    Modality.SERIES: "series-conv",
}


@cache
def installed_encoders() -> dict[str, EncoderEntry]:
    """Encoders that other installed packages offer, by name.

    Raises:
        InputError: If one takes a name of ours or lacks `modality`.
    """
    found: dict[str, EncoderEntry] = {}
    for point in entry_points(group=GROUP):
        if point.name in ENCODERS:
            raise InputError(
                f"an installed package takes the name of the encoder '{point.name}'", fix="Rename it there"
            )
        part = point.load()
        modality = getattr(part, "modality", None)
        if modality not in set(Modality):
            raise InputError(
                f"the installed encoder '{point.name}' has no attribute `modality` that names a modality",
                fix="Set for example modality = 'text' on the class",
            )
        words = (part.__doc__ or "").strip().split("\n")[0]
        found[point.name] = EncoderEntry(Modality(modality), part, words)
    return found


def encoder_entry(name: str, modality: Modality) -> EncoderEntry:
    """The encoder of that name.

    Raises:
        InputError: There is none, or it reads another modality.
    """
    if is_backbone(name):
        # Which one, the preprocessor says
        return EncoderEntry(modality, build_pretrained, "pretrained backbone")
    known = ENCODERS if name in ENCODERS else {**ENCODERS, **installed_encoders()}
    if name not in known:
        raise InputError(f"there is no encoder '{name}'", fix=did_you_mean(name, known))
    entry = known[name]
    if entry.modality is not modality:
        fitting = [other for other, item in known.items() if item.modality is modality]
        raise InputError(
            f"the encoder '{name}' reads {entry.modality}, not {modality}", fix=did_you_mean(name, fitting)
        )
    return entry
