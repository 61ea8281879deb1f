"""Pretrained backbones as encoders: frozen, with low-rank adapters, or learnt on as a whole.

A frozen backbone and the weights that adapters stand beside are no part of the network's state: all members of an
ensemble share them, checkpoints do not hold them, and the model folder keeps them once, named by their digest.

Shapes: P present rows, L ids, N media or chunks or frames of all rows in order, T tokens, D width of the backbone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from omnifuse.data.backbone import ARCHITECTURES, FULL, LORA, Backbone
from omnifuse.encoders.backbones import (
    Held,
    PatchPooling,
    build_module,
    held_backbone,
    text_features,
    with_shared_weights,
)
from omnifuse.encoders.lora import adapt
from omnifuse.errors import ArtefactError
from omnifuse.schema import Modality
from omnifuse.tokens import FieldBatch, Tokens, gathered, group_means

# Array of what a backbone gave, in the place of what it reads
FEATURES = "features"
# Patches of a picture become a grid of so many a side, those of a frame of video of so many
PICTURE_SIDE, FRAME_SIDE = 4, 2
# The rate of the topmost block as a share of the model's, and that of each block as a share of the one above
TOP_RATE, RATE_DECAY = 0.02, 0.75
ADAPTER_RATE = 0.25


class PretrainedEncoder(nn.Module):
    """A backbone that was trained elsewhere.

    Rows that come with features (`features`, what `features` gave for them before) are not computed again.

    Args:
        backbone: Which, and whether it learns.
        preprocessor: Of the field.

    Raises:
        ArtefactError: Nobody has said where its weights lie.
    """

    def __init__(self, backbone: Backbone, preprocessor: Any) -> None:
        super().__init__()
        self.backbone, self.dim = backbone, backbone.width
        self.summary_dim = self.dim if backbone.is_frozen else 0
        held = held_backbone(backbone)
        if held is None and backbone.keeps_weights:
            raise ArtefactError(
                f"the weights of the backbone '{backbone.label}' are not known",
                fix="Use the model folder as fit wrote it, its file backbone_*.safetensors among the others",
            )
        self.adapters: nn.ModuleList | None = None
        self.learnt: nn.Module | None = None
        self._held = held
        # What adapters stand beside, for the folder that the model is saved to
        self._base = held
        if backbone.tuning == LORA:
            assert held is not None
            own = with_shared_weights(held.module)
            self.adapters = nn.ModuleList(adapt(own))
            self._held = Held(own)
        elif backbone.tuning == FULL:
            module = build_module(backbone)
            if held is not None:
                module.load_state_dict(held.module.state_dict())
            self.learnt, self._held = module.requires_grad_(True), None
        self._preprocessor = preprocessor
        self._reader: Any = _READERS[backbone.architecture](self, preprocessor)

    @property
    def module(self) -> nn.Module:
        """The backbone itself."""
        if self.learnt is not None:
            return self.learnt
        assert self._held is not None
        return self._held.module

    @property
    def beside(self) -> nn.Module | None:
        """The module whose weights are not a part of the network's state; None where all are."""
        return None if self._held is None else self._held.module

    @property
    def not_exported(self) -> str:
        """Why there is no graph of it; "" where there is one."""
        modality = ARCHITECTURES[self.backbone.architecture].modality
        if modality in (Modality.TEXT, Modality.IMAGE):
            return ""
        return f"graphs of backbones are written for texts and pictures, and {self.backbone.label} reads {modality}"

    @property
    def most_steps(self) -> int:
        """Longest row, where there is a limit."""
        return int(getattr(self._preprocessor, "max_length", 1_000_000))

    def __deepcopy__(self, memo: dict[int, Any]) -> PretrainedEncoder:
        """The same with weights of its own where it learns; what stays is shared."""
        other = PretrainedEncoder(self.backbone, self._preprocessor)
        other.load_state_dict(self.state_dict())
        for mine, theirs in zip(self.parameters(), other.parameters(), strict=True):
            theirs.requires_grad_(mine.requires_grad)
        return other.train(self.training)

    def train(self, mode: bool = True) -> PretrainedEncoder:
        """As every module, but dropout inside the backbone stays off: its draws would come from no seed of ours."""
        super().train(mode)
        self.module.eval()
        return self

    def _apply(self, fn: Callable[[Any], Any], recurse: bool = True) -> PretrainedEncoder:
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        if self._held is not None:
            with self._held.lock:
                self._held.module._apply(fn)  # type: ignore[no-untyped-call]
        return self

    def rate_scales(self) -> dict[int, float]:
        """Id of each learnt weight to its share of the learning rate.

        References: Howard and Ruder 2018, Universal Language Model Fine-tuning, section 3.2 (discriminative rates).
        """
        if self.adapters is not None:
            return {id(weight): ADAPTER_RATE for weight in self.adapters.parameters()}
        if self.learnt is None:
            return {}
        blocks = _blocks(self.learnt)
        scales = {id(weight): TOP_RATE * RATE_DECAY ** (len(blocks) + 1) for weight in self.learnt.parameters()}
        for depth, block in enumerate(blocks):
            scales |= {id(weight): TOP_RATE * RATE_DECAY ** (len(blocks) - 1 - depth) for weight in block.parameters()}
        return scales

    def features(self, batch: FieldBatch) -> Tensor:
        """What the backbone makes of the rows, with their leading length axis: (N, D) or (N, T, D)."""
        if FEATURES in batch.values:
            return batch.values[FEATURES]

        def work() -> Tensor:
            found: Tensor = self._reader.features(self.module, batch)
            return found

        if self._held is None or self.adapters is not None:
            return work()

        def work_without_gradient() -> Tensor:
            with torch.no_grad():
                return work()

        return self._held.once(batch, work_without_gradient)

    def summarise(self, batch: FieldBatch) -> Tensor:
        """(P, D) of unit length: what the backbone says of a row in one vector."""
        return F.normalize(self._reader.summary(self.features(batch), batch).float(), dim=1, eps=1e-6)

    def forward(self, batch: FieldBatch) -> Tokens:
        """To (P, T, D); the first token of a text or sound (of each picture) says the whole."""
        found: Tokens = self._reader.tokens(self.features(batch), batch)
        return found


def _blocks(module: nn.Module) -> list[nn.Module]:
    """The longest list of equal blocks: the layers of the transformer."""
    lists = [list(item) for item in module.modules() if isinstance(item, nn.ModuleList) and len(item)]
    alike = [items for items in lists if len({type(item) for item in items}) == 1]
    return max(alike, key=lambda items: (len(items), sum(p.numel() for p in items[0].parameters())), default=[])


def build_pretrained(preprocessor: Any, options: Any) -> nn.Module:
    """The encoder that belongs to the preprocessor of a backbone."""
    backbone = getattr(preprocessor, "backbone", None)
    if not isinstance(backbone, Backbone):
        raise ArtefactError("a field whose encoder is pretrained has another preprocessor", fix="Fit again")
    return PretrainedEncoder(backbone, preprocessor)


class _Text(nn.Module):
    """Ids of a text to its hidden states; the whole is their mean, or the state of the last one."""

    def __init__(self, encoder: PretrainedEncoder, preprocessor: Any) -> None:
        super().__init__()
        self.by_last = encoder.backbone.architecture in ("clip-text", "siglip-text")

    def features(self, module: nn.Module, batch: FieldBatch) -> Tensor:
        """(N, D) of all ids."""
        ids, mask = batch.unpack(batch.values["ids"].long())
        if batch.is_even:
            return text_features(module, ids, None).flatten(0, 1)
        return text_features(module, ids, mask)[mask]

    def summary(self, found: Tensor, batch: FieldBatch) -> Tensor:
        """(P, D)."""
        values, mask = batch.unpack(found)
        if not self.by_last:
            return _mean(values, mask)
        if batch.is_even:
            return values[:, -1]
        last = (batch.lengths.to(values.device) - 1).view(-1, 1, 1).expand(-1, 1, values.shape[2])
        return values.gather(1, last).squeeze(1)

    def tokens(self, found: Tensor, batch: FieldBatch) -> Tokens:
        """(P, 1 + L, D)."""
        values, mask = batch.unpack(found)
        whole = self.summary(found, batch).unsqueeze(1)
        return Tokens(torch.cat([whole, values], dim=1), F.pad(mask, (1, 0), value=True))


class _Image(nn.Module):
    """Pictures to the token of the whole and a grid of means of patches."""

    side = PICTURE_SIDE
    slope: Tensor
    start: Tensor

    def __init__(self, encoder: PretrainedEncoder, preprocessor: Any) -> None:
        super().__init__()
        framing, backbone = preprocessor.framing, encoder.backbone
        self.architecture = backbone.architecture
        self.register_buffer("slope", torch.tensor([framing.factor / std for std in framing.std]), persistent=False)
        start = [-mean / std for mean, std in zip(framing.mean, framing.std, strict=True)]
        self.register_buffer("start", torch.tensor(start), persistent=False)
        patch = backbone.config["patch_size"]
        rows, columns = (patch, patch) if isinstance(patch, int) else patch
        height, width = framing.size
        self.pooling = PatchPooling(height // rows, width // columns, self.side)

    def scaled(self, pixels: Tensor) -> Tensor:
        """uint8 (N, H, W, 3) to (N, 3, H, W)."""
        return torch.addcmul(self.start, pixels.float(), self.slope).permute(0, 3, 1, 2)

    def features(self, module: nn.Module, batch: FieldBatch) -> Tensor:
        """(N, 1 + T, D)."""
        found = module(pixel_values=self.scaled(batch.values["pixels"]))
        states = found.last_hidden_state
        if self.architecture in ("clip-vision", "siglip-vision"):
            whole = found.pooler_output
        else:
            whole = states[:, 0]
        patches = states if self.architecture == "siglip-vision" else states[:, 1:]
        pooled = self.pooling(patches)
        return torch.cat([whole.unsqueeze(1), pooled], dim=1)

    def summary(self, found: Tensor, batch: FieldBatch) -> Tensor:
        """(P, D)."""
        return group_means(found[:, 0], batch.lengths)

    def tokens(self, found: Tensor, batch: FieldBatch) -> Tokens:
        """(P, K (1 + T), D) of K pictures at most a row."""
        return gathered(
            Tokens(found, torch.ones(found.shape[:2], dtype=torch.bool, device=found.device)), batch.lengths
        )


class _Video(_Image):
    """The frames of a clip to a grid of means of patches every few frames; the whole is their mean."""

    side = FRAME_SIDE

    def __init__(self, encoder: PretrainedEncoder, preprocessor: Any) -> None:
        super().__init__(encoder, preprocessor)
        self.num_frames = int(preprocessor.num_frames)
        self.tubelet = int(encoder.backbone.config.get("tubelet_size", 2))

    def features(self, module: nn.Module, batch: FieldBatch) -> Tensor:
        """(N frames, T, D): the tokens of each few frames, shared out among these."""
        pixels = self.scaled(batch.values["pixels"])
        clips = pixels.reshape(-1, self.num_frames, *pixels.shape[1:])
        states = module(pixel_values=clips).last_hidden_state
        times = self.num_frames // self.tubelet
        num_patches, width = states.shape[1] // times, states.shape[2]
        pooled: Tensor = self.pooling(states.reshape(-1, num_patches, width))
        # (P x times, T, D) to frames: each takes its part of the T tokens, or all of them where they do not divide
        if pooled.shape[1] % self.tubelet:
            return pooled.repeat_interleave(self.tubelet, dim=0)
        return pooled.reshape(-1, pooled.shape[1] // self.tubelet, width)

    def summary(self, found: Tensor, batch: FieldBatch) -> Tensor:
        """(P, D)."""
        return group_means(found.mean(dim=1), batch.lengths)

    def tokens(self, found: Tensor, batch: FieldBatch) -> Tokens:
        """(P, 1 + F T, D)."""
        values, mask = batch.unpack(found)
        values = torch.cat([self.summary(found, batch).unsqueeze(1), values.flatten(1, 2)], dim=1)
        return Tokens(values, F.pad(mask.repeat_interleave(found.shape[1], dim=1), (1, 0), value=True))


class _Whisper(nn.Module):
    """Chunks of log-mel to a token each; the whole is their mean."""

    def __init__(self, encoder: PretrainedEncoder, preprocessor: Any) -> None:
        super().__init__()
        self.positions = int(encoder.backbone.config["max_source_positions"])

    def features(self, module: nn.Module, batch: FieldBatch) -> Tensor:
        """(N chunks, D)."""
        spectra = batch.values["log_mel"]
        chunks, mask = batch.unpack(spectra)
        num_rows, most, frames, bands = chunks.shape
        total = 2 * self.positions
        loudest = chunks.masked_fill(~mask[:, :, None, None], -torch.inf).amax(dim=(1, 2, 3))
        # As `pretrained_audio.silence`
        silent = torch.clamp(loudest - 2.0, min=-1.5)
        filled = torch.where(mask[:, :, None, None], chunks, silent[:, None, None, None])
        filled = filled.reshape(num_rows, most * frames, bands)[:, :total]
        rest = silent[:, None, None].expand(-1, total - filled.shape[1], bands)
        states = module(torch.cat([filled, rest], dim=1).transpose(1, 2)).last_hidden_state
        step = frames // 2
        padded = F.pad(states, (0, 0, 0, -states.shape[1] % step))
        real = F.pad(states.new_ones(states.shape[1]), (0, -states.shape[1] % step)).view(-1, step)
        sums = padded.reshape(num_rows, -1, step, padded.shape[2]).sum(dim=2)
        means: Tensor = sums / real.sum(dim=1).clamp(min=1)[:, None]
        return means[:, :most][mask]

    def summary(self, found: Tensor, batch: FieldBatch) -> Tensor:
        """(P, D)."""
        return _mean(*batch.unpack(found))

    def tokens(self, found: Tensor, batch: FieldBatch) -> Tokens:
        """(P, 1 + C, D)."""
        values, mask = batch.unpack(found)
        return Tokens(torch.cat([_mean(values, mask).unsqueeze(1), values], dim=1), F.pad(mask, (1, 0), value=True))


class _Wave(_Whisper):
    """Chunks of samples to a token each. Rows of one length go through together, so that padding moves none."""

    def __init__(self, encoder: PretrainedEncoder, preprocessor: Any) -> None:
        nn.Module.__init__(self)

    def features(self, module: nn.Module, batch: FieldBatch) -> Tensor:
        """(N chunks, D)."""
        waves, _ = batch.unpack(batch.values["wave"])
        found: list[Tensor] = [waves] * waves.shape[0]
        for length in sorted(set(batch.lengths.tolist())):
            rows = (batch.lengths == length).nonzero().flatten().tolist()
            states = module(waves[rows, :length].flatten(1)).last_hidden_state
            each = -(-states.shape[1] // length)
            missing = each * length - states.shape[1]
            real = F.pad(states.new_ones(states.shape[1]), (0, missing)).view(length, each).sum(dim=1)
            filled = F.pad(states, (0, 0, 0, missing)).reshape(len(rows), length, each, -1)
            means = filled.sum(dim=2) / real[:, None]
            for row, values in zip(rows, means, strict=True):
                found[row] = values
        return torch.cat(found)


def _mean(values: Tensor, mask: Tensor) -> Tensor:
    """(P, T, D) and (P, T) to the mean (P, D) of the real ones."""
    shares = mask.to(values.dtype).unsqueeze(-1)
    return (values * shares).sum(dim=1) / shares.sum(dim=1).clamp(min=1)


_READERS: dict[str, Callable[[PretrainedEncoder, Any], Any]] = {
    "bert": _Text,
    "modernbert": _Text,
    "clip-text": _Text,
    "siglip-text": _Text,
    "vit": _Image,
    "dinov2": _Image,
    "clip-vision": _Image,
    "siglip-vision": _Image,
    "whisper": _Whisper,
    "wav2vec2": _Wave,
    "videomae": _Video,
}
