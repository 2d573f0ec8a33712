"""Transformers in plain PyTorch, as timm writes them, but small."""

import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn


class Attention(nn.Module):
    def __init__(self, dim, heads, fused):
        super().__init__()
        self.heads, self.fused = heads, fused
        self.qkv, self.proj = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)

    def forward(self, x, bias=None):
        batch, count, dim = x.shape
        q, k, v = self.qkv(x).reshape(batch, count, 3, self.heads, dim // self.heads).permute(2, 0, 3, 1, 4).unbind(0)
        if self.fused:
            y = F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
        else:
            scores = (q * (dim // self.heads) ** -0.5) @ k.transpose(-2, -1)
            y = (scores if bias is None else scores + bias).softmax(dim=-1) @ v
        return self.proj(y.transpose(1, 2).reshape(batch, count, dim))


class Block(nn.Module):
    def __init__(self, dim, fused):
        super().__init__()
        self.norm1, self.attn = nn.LayerNorm(dim), Attention(dim, 2, fused)
        self.norm2, self.mlp = nn.LayerNorm(dim), nn.Sequential(nn.Linear(dim, 16), nn.GELU(), nn.Linear(16, dim))

    def forward(self, x):
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class ViT(nn.Module):
    def __init__(self, fused=True):
        super().__init__()
        self.patch = nn.Conv2d(3, 8, 8, 8)
        self.token, self.position = nn.Parameter(torch.randn(1, 1, 8)), nn.Parameter(torch.randn(1, 17, 8))
        self.blocks, self.norm = nn.Sequential(Block(8, fused), Block(8, fused)), nn.LayerNorm(8)
        self.head = nn.Linear(8, 5)

    def forward(self, x):
        x = self.patch(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], dim=1) + self.position
        return self.head(self.norm(self.blocks(x))[:, 0])


def windows(x, size):
    batch, height, width, dim = x.shape
    x = x.view(batch, height // size, size, width // size, size, dim)
    return x.permute(0, 1, 3, 2, 4, 5).contiguous().view(-1, size * size, dim)


def from_windows(x, size, height, width):
    x = x.view(-1, height // size, width // size, size, size, x.shape[-1])
    return x.permute(0, 1, 3, 2, 4, 5).contiguous().view(-1, height, width, x.shape[-1])


class SwinBlock(nn.Module):
    """Windows of 4 × 4, moved by `shift` with a mask, and a bias by relative position."""

    def __init__(self, dim, side, shift):
        super().__init__()
        self.shift, self.side = shift, side
        self.norm1, self.attn = nn.LayerNorm(dim), Attention(dim, 2, fused=False)
        self.norm2, self.mlp = nn.LayerNorm(dim), nn.Sequential(nn.Linear(dim, 16), nn.GELU(), nn.Linear(16, dim))
        self.table = nn.Parameter(torch.randn(49, 2))
        place = torch.stack(torch.meshgrid(torch.arange(4), torch.arange(4), indexing="ij")).flatten(1)
        apart = (place[:, :, None] - place[:, None, :]).permute(1, 2, 0) + 3
        self.register_buffer("index", apart[..., 0] * 7 + apart[..., 1])
        region = torch.zeros(1, side, side, 1)
        cuts = (slice(0, -4), slice(-4, -shift or None), slice(-shift or side, None))
        for number, (rows, columns) in enumerate((r, c) for r in cuts for c in cuts):
            region[:, rows, columns] = number
        region = windows(region, 4).squeeze(-1)
        mask = (region[:, None] != region[:, :, None]).float() * -100
        self.register_buffer("mask", mask if shift else None, persistent=False)

    def forward(self, x):
        batch, side = x.shape[0], self.side
        y = torch.roll(self.norm1(x), (-self.shift, -self.shift), (1, 2)) if self.shift else self.norm1(x)
        y = windows(y, 4)
        bias = self.table[self.index.view(-1)].view(16, 16, -1).permute(2, 0, 1).unsqueeze(0)
        if self.mask is not None:
            bias = bias + self.mask.repeat(batch, 1, 1).unsqueeze(1)
        y = from_windows(self.attn(y, bias), 4, side, side)
        x = x + (torch.roll(y, (self.shift, self.shift), (1, 2)) if self.shift else y)
        return x + self.mlp(self.norm2(x))


class Merge(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.norm, self.reduction = nn.LayerNorm(4 * dim), nn.Linear(4 * dim, 2 * dim, bias=False)

    def forward(self, x):
        parts = [x[:, i::2, j::2, :] for j in (0, 1) for i in (0, 1)]
        return self.reduction(self.norm(torch.cat(parts, -1)))


class Swin(nn.Module):
    def __init__(self):
        super().__init__()
        self.patch, self.norm = nn.Conv2d(3, 4, 4, 4), nn.LayerNorm(4)
        self.blocks = nn.Sequential(SwinBlock(4, 8, 0), SwinBlock(4, 8, 2), Merge(4))
        self.head = nn.Linear(8, 5)

    def forward(self, x):
        x = self.norm(self.patch(x).permute(0, 2, 3, 1))
        return self.head(self.blocks(x).mean((1, 2)))


class Mixer(nn.Module):
    def __init__(self):
        super().__init__()
        self.patch, self.norm1, self.norm2 = nn.Conv2d(3, 6, 8, 8), nn.LayerNorm(6), nn.LayerNorm(6)
        self.tokens = nn.Sequential(nn.Linear(16, 8), nn.GELU(approximate="tanh"), nn.Linear(8, 16))
        self.channels = nn.Sequential(nn.Linear(6, 8), nn.GELU(), nn.Linear(8, 6))
        self.head = nn.Linear(6, 5)

    def forward(self, x):
        x = self.patch(x).flatten(2).transpose(1, 2)
        x = x + self.tokens(self.norm1(x).transpose(1, 2)).transpose(1, 2)
        return self.head((x + self.channels(self.norm2(x))).mean(1))


class TorchsOwn(nn.Module):
    """PyTorch's encoder layer and its multi-head attention."""

    def __init__(self):
        super().__init__()
        self.patch = nn.Conv2d(3, 8, 8, 8)
        self.layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, norm_first=True)
        self.pool, self.query = nn.MultiheadAttention(8, 2, batch_first=True), nn.Parameter(torch.randn(1, 1, 8))
        self.head = nn.Linear(8, 5)

    def forward(self, x):
        x = self.layer(self.patch(x).flatten(2).transpose(1, 2))
        y, _ = self.pool(self.query.expand(x.shape[0], -1, -1), x, x, need_weights=False)
        return self.head(y[:, 0])


TRANSFORMERS = {
    "ViT": ViT,
    "ViT with attention written out": lambda: ViT(fused=False),
    "Swin": Swin,
    "MLP-Mixer": Mixer,
    "PyTorch's own transformer": TorchsOwn,
}
