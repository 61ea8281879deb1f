"""Per-sample augmentation of decoded arrays, drawn anew whenever a training batch is made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from omnifuse.data.augment_audio import AudioAugment
from omnifuse.data.augment_cells import PlaceAugment, TableAugment, TagsAugment, TextAugment
from omnifuse.data.augment_image import ImageAugment
from omnifuse.data.augment_mask import MaskAugment
from omnifuse.data.augment_series import SeriesAugment
from omnifuse.data.augment_video import VideoAugment
from omnifuse.errors import InputError
from omnifuse.schema import Modality

if TYPE_CHECKING:  # the packs read media, which augmentation does not need
    from omnifuse.data.pack import PackedRows

__all__ = [
    "AudioAugment",
    "Augment",
    "Augmenter",
    "ImageAugment",
    "MaskAugment",
    "PlaceAugment",
    "SeriesAugment",
    "TableAugment",
    "TagsAugment",
    "TextAugment",
    "VideoAugment",
]

Augment = (
    ImageAugment
    | AudioAugment
    | VideoAugment
    | SeriesAugment
    | TextAugment
    | TableAugment
    | TagsAugment
    | PlaceAugment
    | MaskAugment
)
# Of the training rows' spread
_PLACE_JITTER = 0.02
_UNLEVELLED_GAIN_DB = 6.0


@dataclass(frozen=True)
class Augmenter:
    """Augments the packed rows of each input by its policy.

    Args:
        policy: Input name to what may happen to it; None or an absent name leaves the input as it is.

    Example:
        >>> augmenter = Augmenter.default({"photo": Modality.IMAGE, "when": Modality.DATE})
        >>> augmenter.policy["photo"].flip, augmenter.policy["when"]
        (False, None)
    """

    policy: Mapping[str, Augment | None] = field(default_factory=dict)

    def __call__(self, name: str, packed: PackedRows, rng: np.random.Generator) -> PackedRows:
        """Augment rows of one input.

        Args:
            name: The input.
            packed: Its rows; they are not changed.
            rng: Source of all that is random: the same state gives the same result.

        Returns:
            Rows of the same arrays, lengths and presence.
        """
        augment = self.policy.get(name)
        if augment is None or not len(packed.lengths):
            return packed
        return replace(packed, values=augment(packed.values, packed.lengths, rng))

    @classmethod
    def default(
        cls,
        modalities: Mapping[str, Modality],
        strength: float = 1.0,
        *,
        preprocessors: Mapping[str, Any] | None = None,
        reverberation: float = 0.0,
        transcribed: str = "",
    ) -> Augmenter:
        """The usual policy.

        Args:
            modalities: Input name to modality, as in `schema.inputs`.
            strength: Factor of all amounts, 0 (nothing happens) to 3.
            preprocessors: Input name to fitted preprocessor; tells the mel bands and the level of sounds. Without it
                sounds are taken to have 64 bands and a normalised level.
            reverberation: Share of sounds that are put into a room, whatever the strength.
            transcribed: The sound that is written down: it is not shifted, which would cut words off.

        Returns:
            The augmenter; dates and other modalities without a policy stay as they are, and so do inputs whose
            preprocessor says that they are not `augmented`: those of frozen backbones, whose features are kept.

        Raises:
            InputError: `strength` is out of its limits.
        """
        if not 0 <= strength <= 3:
            raise InputError(f"The strength of augmentation must be 0 to 3, received {strength}")
        known = preprocessors or {}
        if not strength:
            return cls(dict.fromkeys(modalities))
        policy = {name: _usual(kind, strength, known.get(name)) for name, kind in modalities.items()}
        policy |= dict.fromkeys(name for name, item in known.items() if not getattr(item, "augmented", True))
        for name, item in policy.items():
            if isinstance(item, AudioAugment) and reverberation:
                hop_s = getattr(known.get(name), "hop_s", item.hop_s)
                policy[name] = replace(item, reverberation=reverberation, hop_s=hop_s)
        sound = policy.get(transcribed)
        if isinstance(sound, AudioAugment):
            policy[transcribed] = replace(sound, shift=0.0)
        return cls(policy)

    @classmethod
    def masking(cls, modalities: Mapping[str, Modality], share: float = 0.5) -> Augmenter:
        """The policy that hides large parts of each row, for views that the rest is to be told from.

        Args:
            modalities: Input name to modality; dates and places, which have no parts, stay as they are.
            share: Of what is hidden.
        """
        return cls({name: _masked(kind, share) for name, kind in modalities.items()})


def _masked(modality: Modality, share: float) -> Augment | None:
    """Policy of one modality that hides a share of it."""
    if modality in (Modality.IMAGE, Modality.VIDEO, Modality.AUDIO, Modality.SERIES):
        return MaskAugment(share)
    if modality == Modality.TEXT:
        return TextAugment(dropout=share, span=0.0)
    if modality == Modality.TABLE:
        return TableAugment(dropout=share, jitter=0.0)
    return TagsAugment(dropout=share) if modality == Modality.TAGS else None


def _usual(modality: Modality, strength: float, preprocessor: Any) -> Augment | None:
    """Default policy of one modality with all amounts times `strength`."""

    def share(value: float) -> float:
        return min(value * strength, 1.0)

    if modality in (Modality.IMAGE, Modality.VIDEO):
        usual = ImageAugment()
        picture = ImageAugment(
            shift=share(usual.shift),
            zoom=(usual.zoom[0] ** strength, usual.zoom[1] ** strength),
            rotate=usual.rotate * strength,
            colour=share(usual.colour),
            erase=share(usual.erase),
        )
        return picture if modality == Modality.IMAGE else VideoAugment(picture, share(VideoAugment().dropout))
    if modality == Modality.AUDIO:
        sound = AudioAugment()
        num_mels = getattr(preprocessor, "num_mels", sound.num_mels)
        return AudioAugment(
            num_mels=num_mels,
            shift=share(sound.shift),
            gain=_UNLEVELLED_GAIN_DB * strength if getattr(preprocessor, "level", "rms") == "none" else 0.0,
            noise=share(sound.noise),
            time_mask=share(sound.time_mask),
            band_mask=round(sound.band_mask * strength * num_mels / sound.num_mels),
        )
    if modality == Modality.TEXT:
        text = TextAugment()
        return TextAugment(dropout=share(text.dropout), span=share(text.span))
    if modality == Modality.SERIES:
        series = SeriesAugment()
        return SeriesAugment(
            jitter=series.jitter * strength,
            scaling=series.scaling * strength,
            warp=share(series.warp),
            warp_factor=series.warp_factor**strength,
            gaps=share(series.gaps),
            gap=share(series.gap),
        )
    if modality == Modality.TABLE:
        table = TableAugment()
        return TableAugment(dropout=share(table.dropout), jitter=table.jitter * strength)
    if modality == Modality.TAGS:
        return TagsAugment(dropout=share(TagsAugment().dropout))
    if modality == Modality.PLACE:
        return PlaceAugment(jitter_km=_PLACE_JITTER * strength * getattr(preprocessor, "spread_km", 0.0))
    return None
