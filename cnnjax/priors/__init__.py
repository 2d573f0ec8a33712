"""What natural images are like before any network sees them: self-similarity, PatchMatch, jigsaw.

- `nearest_patches`: for every patch the nearest of another image, exactly
- `patchmatch`: the same, nearly, by propagation and random search
- `similar_patches`: the patches of an image most like one of them
- `phase_randomised`, `pixel_shuffled`: an image's spectrum, or its colours, without its structure
- `inpaint`: a hole filled with patches of the rest of the image
- `load_image`, `resize`, `central_square`: the photographs that scikit-image and scikit-learn carry, or any file's
- `jigsaw`: a photograph cut into square pieces, mixed, and put together again by its borders
"""

from cnnjax.priors import jigsaw
from cnnjax.priors.exhaustive import nearest_patches
from cnnjax.priors.images import CARRIED_IMAGES, TEXTURES, central_square, load_image, resize
from cnnjax.priors.inpainting import inpaint
from cnnjax.priors.patch_match import patchmatch
from cnnjax.priors.patches import NearestPatches
from cnnjax.priors.self_similarity import phase_randomised, pixel_shuffled, similar_patches

__all__ = [
    "CARRIED_IMAGES",
    "TEXTURES",
    "NearestPatches",
    "central_square",
    "inpaint",
    "jigsaw",
    "load_image",
    "nearest_patches",
    "patchmatch",
    "phase_randomised",
    "pixel_shuffled",
    "resize",
    "similar_patches",
]
