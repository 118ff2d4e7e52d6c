"""Metric-learning losses as Keras layers, one a file, and the table of them.

Importing this package costs no Keras: `make` imports the loss that is asked for.
"""

from cbir.train.losses.making import checked, find, make
from cbir.train.losses.table import LOSSES, LossInfo, Option

__all__ = ["LOSSES", "LossInfo", "Option", "checked", "find", "make"]
