"""Names of tensors that a model keeps but does not learn: no matrix of theirs is a layer.

Positions, masks, rotary tables, running statistics, constant filters and the like are stored beside
the weights and look like them. The names are those that torch, `transformers`, timm, diffusers,
torchaudio and the releases of the named models register as buffers.
"""

from __future__ import annotations

import re
from typing import Final

_NAMES: Final = {
    "positions": (
        r"(?:\w+_)?position_ids|pos_ids|token_type_ids|rel(?:ative)?_pos(?:ition)?_(?:index|idx)"
        r"|relative_coords(?:_table)?|attention_bias_idxs|bias_idxs|rp_bucket|summary_idxs"
        r"|pos_idx_to_embed|(?:pos_enc\w*|position(?:al)?_enc\w*)\.(?:pe|pos_table)|pos_table"
        r"|position_embedding\.pos_enc|pos_embed\.pos_embed"
        r"|anchors|anchor_points|stride_tensor"
    ),
    "rotary table": (
        r"(?:\w+_)?inv_freq|(?:cos|sin)_cached|freqs_(?:cis|cos|sin)|(?:cos|sin)_cache"
        r"|(?:rope|rotary|rotary_emb|rotary_pos_emb|rope_embed)\.(?:freqs|cos|sin|periods)"
        r"|rope_(?:freqs|factors_long|factors_short)(?:\.weight)?"
    ),
    "mask": (
        r"masked_bias|attn_mask(?:_probs)?|attention_mask|causal_mask|valid_mask|window_mask"
        r"|(?:attn|attention)\.(?:mask|tril)"
    ),
    "statistics": (
        r"num_batches_tracked|running_(?:mean|var)|(?:ema_)?cluster_(?:size|usage)|embed_(?:avg|sum)"
        r"|ema_(?:embed|w|weight|cluster)|(?:pixel|image|latent|global)_(?:mean|std|invstd)"
        r"|code_(?:count|avg|sum|usage)|data_initialized|inited"
    ),
    "codebook of running means": r"_?codebook\.embed",
    "constant filter": (
        r"(?:blur|anti_?alias\w*|low_?pass\w*|resample)(?:_|\.)(?:kernel|filter|filt)|filt"
        r"|(?:up|down)sample\.(?:kernel|filter)|i?[dw]wt_filter|i?wt_filter|gauss(?:ian)?_kernel"
        r"|noises\.noise_#|noise_const"
    ),
    "filter bank": (
        r"mel_(?:filters?|basis|fb|filterbank)|(?:mel_?scale|mel_?spec\w*)\.fb|fbank|melW"
        r"|(?:i?stft|spectrogram)\.\w*(?:window|basis)|(?:forward|inverse)_basis"
        r"|i?stft\.conv_(?:real|imag)\.weight|dft_(?:matrix|real|imag)|dct_mat(?:rix)?"
        r"|(?:hann|hamming|analysis|synthesis|fft)_window"
    ),
    "random features": (
        r"(?:shared_(?:image_)?embedding|pe_layer)\.positional_(?:embedding|encoding_gaussian_matrix)"
        r"|positional_encoding_gaussian_matrix|fast_attention\.projection_matrix"
    ),
    "lookup table": r"tid2eid|spiece_model|tokenizer_json",
    "decay": r"(?:query|key|diagonal)_decay|slope_rate|alibi(?:_slopes)?",
    "copy rounded to integers": r"weight_integer",
}
"""Ends of paths by what lies there; numbers are written #."""
_TABLE: Final = tuple(
    (what, re.compile(rf"(?:^|\.)(?:{ends})(?:\.#)?$")) for what, ends in _NAMES.items()
)
"""The ends, compiled."""
_NUMBER: Final = re.compile(r"(?<=[._])[0-9]+(?=\.|$)")
"""A number that counts modules."""


_MAX_CHARS: Final = 512
"""Longer names are nobody's convention."""


def buffer_kind(name: str) -> str | None:
    """What a tensor of this name holds that is not learned; None where the name says no such thing."""
    if len(name) > _MAX_CHARS:
        return None
    path = _NUMBER.sub("#", name)
    return next((what for what, ends in _TABLE if ends.search(path)), None)
