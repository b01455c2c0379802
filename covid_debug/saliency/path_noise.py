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
        self._draws: list[Tensor] = []
        is_kept = len(images) * n_path <= max_kept
        for generator in generators:
            for _ in range(n_path):
                if not is_kept:
                    self._states.append(generator.get_state())
                draw = self._draw(generator)
                if is_kept:
                    self._draws.append(draw)

    def at(
        self, image_index: Int64[Tensor, " M"], step: Int64[Tensor, " M"]
    ) -> Float[Tensor, "M 1 H W"]:
        """Return the noise of some images at some path points."""
        places = (image_index * self._n_path + step).tolist()
        made = {place: self._get(place) for place in dict.fromkeys(places)}
        noise = torch.stack([made[place] for place in places])
        return noise * self._std[image_index].view(-1, 1, 1, 1)

    def _get(self, place: int) -> Tensor:
        if self._draws:
            return self._draws[place]
        self._source.set_state(self._states[place])
        return self._draw(self._source)

    def _draw(self, generator: torch.Generator) -> Tensor:
        like = self._like
        return torch.randn(
            like.shape[1:], generator=generator, device=like.device, dtype=like.dtype
        )
