"""Fused projections of gated delta nets, the linear attention of Qwen3-Next and Qwen 3.5.

Layouts: `transformers` (`fix_query_key_value_ordering` of Qwen3-Next; the splits of Qwen 3.5).
"""

from __future__ import annotations

from zoo.layers.parts import Shapes, Split, Whole, misfit, pieces, unknown_order
from zoo.layers.readers import attention_width
from zoo.layers.settings import Settings


def split_delta(
    module: str, leaf: str, shape: tuple[int, int], settings: Settings, shapes: Shapes
) -> Split:
    """Queries, keys and values, and in `in_proj_qkvz` the gates of the output."""
    if leaf == "in_proj_qkvz":
        return _qkvz(leaf, shape, settings)
    width = attention_width(module, shapes)
    size, odd = divmod(shape[0] - (width or 0), 2)
    if width is None or odd or size <= 0:
        return misfit(shape, f"{width} values and two keys", None)
    return pieces(shape, 0, {"q": size, "k": size, "v": width})


def split_rates(leaf: str, shape: tuple[int, int], settings: Settings) -> Split:
    """Update rates b and decays a, for each head of keys those of its values."""
    if leaf not in ("in_proj_ba", "ssm_ba"):
        return Whole(None)
    keys, values = settings.count("linear_num_key_heads"), settings.count("linear_num_value_heads")
    if keys is None or values is None or values % keys or shape[0] != 2 * values:
        return misfit(shape, f"{keys} heads of keys, {values} of values", None)
    return pieces(shape, 0, dict.fromkeys("ba", values // keys), groups=keys)


def _qkvz(leaf: str, shape: tuple[int, int], settings: Settings) -> Split:
    """For each head of keys: its query, its key, its values and the gates of these."""
    keys, values = settings.count("linear_num_key_heads"), settings.count("linear_num_value_heads")
    key, value = settings.count("linear_key_head_dim"), settings.count("linear_value_head_dim")
    if keys is None or values is None or key is None or value is None or values % keys:
        return unknown_order(leaf, settings.model_type)
    sizes = {"q": key, "k": key, "v": values // keys * value, "z": values // keys * value}
    total = keys * sum(sizes.values())
    if shape[0] != total:
        return misfit(shape, f"{keys} heads of keys and {values} of values", total)
    return pieces(shape, 0, sizes, groups=keys)
