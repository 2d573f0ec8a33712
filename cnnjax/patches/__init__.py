"""The patches of a photograph, without a network: how alike they are, and a hole filled with them.

- `nearest_patches`: for every patch the nearest of another image, exactly
- `patchmatch`: the same, nearly, by propagation and random search
- `similar_patches`: the patches of an image most like one of them
- `randomize_phase`, `shuffle_pixels`: an image's spectrum, or its colours, without its structure
- `inpaint`: a hole filled with patches of the rest of the image
"""

from cnnjax.patches.distances import NearestPatches
from cnnjax.patches.exhaustive import nearest_patches
from cnnjax.patches.inpainting import inpaint
from cnnjax.patches.patch_match import patchmatch
from cnnjax.patches.self_similarity import randomize_phase, shuffle_pixels, similar_patches

__all__ = [
    "NearestPatches",
    "inpaint",
    "nearest_patches",
    "patchmatch",
    "randomize_phase",
    "shuffle_pixels",
    "similar_patches",
]
