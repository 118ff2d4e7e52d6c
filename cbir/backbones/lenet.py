"""LeNet-5: LeCun, Bottou, Bengio and Haffner, Gradient-Based Learning Applied to Document
Recognition (Proceedings of the IEEE 86(11), 1998), section II.B and figure 2.

32 x 32 grey input (a 28 x 28 digit with a margin of 2), background -0.1 and ink 1.175, tanh, 61,706
parameters with 10 classes. As usual today, and unlike the paper: each map of C3 sees all six of S2
(table I leaves some out, to break the symmetry and save multiplications), S2 and S4 are plain
averages without trainable coefficients, the tanh is not scaled, and the outputs are logits in place
of radial basis functions. RGB is made grey inside the network.
"""

from __future__ import annotations

from typing import Any


def lenet5(tensor: Any) -> Any:
    """Scaled RGB (n, s, s, 3), s at least 32 → F6 (n, 84)."""
    from keras import layers

    from cbir.backbones.layers import Grey

    x = Grey(name="grey")(tensor)
    x = layers.Conv2D(6, 5, activation="tanh", name="c1")(x)
    x = layers.AveragePooling2D(2, name="s2")(x)
    x = layers.Conv2D(16, 5, activation="tanh", name="c3")(x)
    x = layers.AveragePooling2D(2, name="s4")(x)
    x = layers.Conv2D(120, 5, activation="tanh", name="c5")(x)
    x = layers.Flatten(name="flatten")(x)
    return layers.Dense(84, activation="tanh", name="f6")(x)
