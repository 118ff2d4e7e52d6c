"""ResNet-50 in plain torch, as timm and torchvision users run it; random weights.

He et al., Deep Residual Learning for Image Recognition (CVPR 2016), table 1; the stride is in the
3 x 3 convolution, as the usual torch models have it.
"""

from __future__ import annotations

from typing import Any


def resnet50() -> Any:
    """A torch module: float32 (n, 3, h, w) → features (n, 2048), in evaluation mode."""
    import torch
    from torch import nn

    def convolution(inside: int, outside: int, size: int, stride: int = 1) -> Any:
        return nn.Sequential(
            nn.Conv2d(inside, outside, size, stride, size // 2, bias=False),
            nn.BatchNorm2d(outside),
        )

    class Block(nn.Module):  # type: ignore[misc]
        """1 x 1, 3 x 3, 1 x 1, and around them."""

        def __init__(self, inside: int, width: int, stride: int) -> None:
            super().__init__()
            self.first = convolution(inside, width, 1)
            self.second = convolution(width, width, 3, stride)
            self.third = convolution(width, 4 * width, 1)
            same = inside == 4 * width and stride == 1
            self.around = nn.Identity() if same else convolution(inside, 4 * width, 1, stride)

        def forward(self, x: Any) -> Any:
            """The block's output."""
            y = torch.relu(self.first(x))
            y = self.third(torch.relu(self.second(y)))
            return torch.relu(y + self.around(x))

    layers: list[Any] = [convolution(3, 64, 7, 2), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
    inside = 64
    for width, count, stride in ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2)):
        for i in range(count):
            layers.append(Block(inside, width, stride if i == 0 else 1))
            inside = 4 * width
    torch.manual_seed(0)
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
