"""Tensors to layers: roles, fused parts, experts, adapters, ties."""
