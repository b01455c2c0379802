"""Noise of a mask search: one draw for every image and path point, the same while masks compare.

Owns that memory stays bounded: where the draws of an iteration are more images than one model call
may have, they are made again from their generators' states whenever they are needed.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from covid_debug.shapes import Images


class PathNoise:
    """Normal noise for each image and path point of one iteration."""

    def __init__(
        self,
        generators: Sequence[torch.Generator],
        noise_std: Float[Tensor, " N"],
        n_path: int,
        images: Images,
        *,
        max_kept: int,
    ) -> None:
        """Draw the noise once, in the order of the path, and remember how.

        Args:
            generators: One per image; moved on by ``n_path`` images.
            noise_std: Standard deviation per image.
            n_path: Points of the path.
            images: Decide size, type and device.
            max_kept: Most draws that are kept.
        """
        self._std, self._n_path, self._like = noise_std, n_path, images
        self._source = torch.Generator(images.device)
        self._states: list[Tensor] = []
        n_draws = len(generators) * n_path
        is_kept = n_draws <= max_kept
        self._kept = images.new_empty(n_draws, *images.shape[1:]) if is_kept else None
        for row, generator in enumerate(generators):
            for step in range(n_path):
                if self._kept is None:
                    self._states.append(generator.get_state())
                draw = self._draw(generator)
                if self._kept is not None:
                    self._kept[row * n_path + step] = draw

    def at(
        self, image_index: Int64[Tensor, " M"], step: Int64[Tensor, " M"]
    ) -> Float[Tensor, "M 1 H W"]:
        """Return the noise of some images at some path points."""
        places = image_index * self._n_path + step
        if self._kept is not None:
            noise = self._kept[places]
        else:
            again = {place: self._draw_again(place) for place in dict.fromkeys(places.tolist())}
            noise = torch.stack([again[place] for place in places.tolist()])
        return noise * self._std[image_index].view(-1, 1, 1, 1)

    def _draw_again(self, place: int) -> Tensor:
        self._source.set_state(self._states[place])
        return self._draw(self._source)

    def _draw(self, generator: torch.Generator) -> Tensor:
        like = self._like
        return torch.randn(
            like.shape[1:], generator=generator, device=like.device, dtype=like.dtype
        )
