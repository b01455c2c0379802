"""Between mask grids and pixels, by matrix products.

Owns the bilinear map from a grid to an image and its least-squares inverse; deterministic on every
device, because no scatter is involved. Knows nothing of masks' meaning.
"""

from numbers import Integral

import torch
from jaxtyping import Float
from torch import Tensor

from covid_debug.errors import InputContractError

GridSize = int | tuple[int, int]
"""Cells in both directions, or rows and columns."""


def as_grid(size: GridSize) -> tuple[int, int]:
    """Return rows and columns; one number stands for both.

    Raises:
        InputContractError: If there are not two whole numbers.
    """
    sides = tuple(size) if isinstance(size, tuple | list) else (size, size)
    if len(sides) != 2 or not all(isinstance(n, Integral) for n in sides):
        raise InputContractError(
            f"perturbation.upsampling: the grid is {size!r}; expected one whole number, or rows"
            " and columns"
        )
    return int(sides[0]), int(sides[1])


def upsampling_matrix(n_cells: int, n_pixels: int, like: Tensor) -> Float[Tensor, "P G"]:
    """Return the matrix of bilinear interpolation in one direction (``align_corners=True``).

    Args:
        n_cells: Grid cells in this direction.
        n_pixels: Pixels in this direction.
        like: Tensor that decides dtype and device.

    Returns:
        Each row is non-negative and sums to 1; the identity when both sizes are equal.

    Raises:
        InputContractError: If the grid is finer than the image or has no cell.
    """
    if not 1 <= n_cells <= n_pixels:
        raise InputContractError(
            f"perturbation.upsampling: grid_size has {n_cells} cells for {n_pixels} pixels;"
            f" expected 1 to {n_pixels}"
        )
    places = torch.linspace(0, n_cells - 1, n_pixels, dtype=torch.float64, device=like.device)
    cells = torch.arange(n_cells, dtype=torch.float64, device=like.device)
    return (1 - (places[:, None] - cells).abs()).clamp(min=0).to(like.dtype)


class GridUpsampler:
    """Carry grids to image size and maps back to grids.

    Attributes:
        grid_size: ``(h, w)`` cells.
        image_size: ``(H, W)`` pixels.
    """

    def __init__(
        self, grid_size: tuple[int, int], image_size: tuple[int, int], like: Tensor
    ) -> None:
        """Build the two matrices once.

        Args:
            grid_size: ``(h, w)``, each at most the image's.
            image_size: ``(H, W)``.
            like: Tensor that decides dtype and device.
        """
        self.grid_size = grid_size
        self.image_size = image_size
        self._rows = upsampling_matrix(grid_size[0], image_size[0], like)
        self._columns = upsampling_matrix(grid_size[1], image_size[1], like)

    def upsample(self, grids: Float[Tensor, "*B h w"]) -> Float[Tensor, "*B H W"]:
        """Return the bilinear interpolation; values stay within the grid's range."""
        if self.grid_size == self.image_size:
            return grids
        return self._rows @ grids @ self._columns.T

    def project(self, maps: Float[Tensor, "*B H W"]) -> Float[Tensor, "*B h w"]:
        """Return the grids whose upsampling is nearest to the maps in least squares.

        The inverse of :meth:`upsample` on every map that came from a grid of this size; an
        average over each cell's surroundings for any other map. Solved in float64.
        """
        if self.grid_size == self.image_size:
            return maps
        rows = torch.linalg.pinv(self._rows.double())
        columns = torch.linalg.pinv(self._columns.double())
        grids: Tensor = (rows @ maps.double() @ columns.T).to(maps.dtype)
        return grids
