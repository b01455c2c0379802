"""Shape names of the tensors that cross module borders.

Axes: ``N`` images, ``H W`` image, ``h w`` mask grid, ``M`` items of one model call, ``K`` classes,
``T`` points of a curve.
"""

from jaxtyping import Bool, Float, Int64
from torch import Tensor

Images = Float[Tensor, "N 1 H W"]
KeepMask = Float[Tensor, "N 1 h w"]
Saliency = Float[Tensor, "N 1 H W"]
Targets = Int64[Tensor, "N"]
Flags = Bool[Tensor, "N"]
