"""Training of many runs at once, on one device; needs torch, numpy and safetensors alone."""
