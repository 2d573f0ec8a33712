"""AlexNet of one tower in PyTorch, with torchvision's names for its weights."""

import pytest

torch = pytest.importorskip("torch", reason="the comparison with PyTorch needs torch")
nn = torch.nn


class AlexNet(nn.Module):
    def __init__(self, widths, dense_widths, num_classes):
        super().__init__()
        a, b, c, d, e = widths
        f, g = dense_widths
        self.features = nn.Sequential(
            *(nn.Conv2d(3, a, 11, 4, 2), nn.ReLU(), nn.MaxPool2d(3, 2)),
            *(nn.Conv2d(a, b, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2)),
            *(nn.Conv2d(b, c, 3, padding=1), nn.ReLU()),
            *(nn.Conv2d(c, d, 3, padding=1), nn.ReLU()),
            *(nn.Conv2d(d, e, 3, padding=1), nn.ReLU(), nn.MaxPool2d(3, 2)),
        )
        self.classifier = nn.Sequential(
            *(nn.Dropout(), nn.Linear(e * 6 * 6, f), nn.ReLU()),
            *(nn.Dropout(), nn.Linear(f, g), nn.ReLU()),
            nn.Linear(g, num_classes),
        )

    def forward(self, x):
        return self.classifier(self.features(x).flatten(1))
