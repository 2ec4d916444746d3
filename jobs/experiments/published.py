"""Numbers as the papers print them. Prakash and Martin 2026 (arXiv 2605.12394, 2602.02859); Martin and
Hinrichs 2025 (SETOL, arXiv 2507.17912)."""

from __future__ import annotations

from typing import Final

PHASES: Final = ("pre_grokking", "grokking", "anti_grokking")
"""At their right edges: about 10^5, 10^6 and 10^7 steps in the papers."""

MLP_TRAPS: Final = {
    (0.0, "fc1"): ("0±0", "0±0", "7.5±5.6"),
    (0.0, "fc2"): ("0±0", "0±0", "1±0"),
    (0.01, "fc1"): ("0", "0", "2.0±0.0"),
    (0.01, "fc2"): ("0", "0", "1.0±0.0"),
}
"""Traps by (weight decay, layer) and phase (2605.12394, Table 3)."""
MLP_ALPHA: Final = {
    (0.0, "fc1"): ("5.0±0.7", "3.6±0.5", "0.9±0.4"),
    (0.0, "fc2"): ("2.9±0.7", "2.3±0.2", "1.3±0.3"),
}
"""alpha likewise (2602.02859, Table 1). The estimator cannot give 0.9: it is always above 1."""
ADDITION: Final = {
    "embed.embed": (2.81, 1.92, 3.57, 7),
    "blocks.0.attn.W_Q": (4.04, 2.86, 3.17, 3),
    "blocks.0.attn.W_K": (3.99, 2.00, 3.20, 5),
    "blocks.0.attn.W_V": (4.66, 1.56, 3.87, 3),
    "blocks.0.attn.out_proj": (3.85, 1.57, 4.04, 4),
    "blocks.0.mlp.fc1": (4.99, 1.71, 4.74, 5),
    "blocks.0.mlp.fc2": (5.22, 2.17, 5.03, 7),
    "unembed.unembed": (3.27, 2.37, 3.53, 5),
}
"""alpha before, at and after grokking, and traps after it (2602.02859, Tables 6 and 7; no trap before)."""
ADDITION_GRAM: Final = (
    (0.86, 1.07, 1.61, 2.09),
    (1.32, 2.05, 1.56, 2.19),
    (123.85, 98.89, 123.01, 94.14),
)
"""Largest eigenvalue of the key Gram matrix of heads 0 to 3, by phase (2602.02859, Tables 8 to 11)."""
ADDITION_KEYS: Final = (0.315, 0.892, 0.985)
"""Share of the six strongest frequencies in the keys' power without the constant, by phase."""
MLP3_ALPHA: Final = {
    "batch 1": ((1.925, 1.947, 1.935, 1.965, 1.980), (2.118, 2.100, 2.093, 2.092, 2.125)),
    "batch 2": ((2.458, 2.454, 2.466, 2.467, 2.456), ()),
    "rate ×32": ((1.972, 1.987, 1.926, 1.942, 1.988), (2.130, 2.077, 2.083, 2.078, 2.139)),
    "rate ×16": ((2.472, 2.467, 2.478, 2.480, 2.455), (2.245, 2.280, 2.329, 2.308, 2.314)),
}
"""alpha of FC1 and FC2 at the last epoch, five seeds (notebooks of the SETOL authors)."""
MODELS: Final = {
    "falcon-7b": (128, 3.686, 0.0232, 2.42),
    "falcon-40b": (222, 4.004, 0.0194, 3.09),
    "llama-13b": (282, 4.950, 0.0278, 3.55),
    "llama-65b": (562, 4.918, 0.0293, 3.75),
}
"""Layers, and means of alpha, KS distance and Δ, of the published detail tables (SETOL). WeightWatcher's layers
of Falcon are fused matrices, ours their parts unless [layers] fused = "whole"."""
