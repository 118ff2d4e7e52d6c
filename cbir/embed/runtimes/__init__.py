"""The seam `uint8 batch → float32 features`: what runs a network, and networks compiled ahead.

keras_graph   the truth: the Keras model itself
openvino_ir   the same network, compiled for this processor
exports       compiled networks, kept by fingerprint; each was checked against Keras
"""

from cbir.embed.runtimes.seam import Runtime

__all__ = ["Runtime"]
