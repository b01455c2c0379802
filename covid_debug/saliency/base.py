"""The contract of every explainer, kept in one place.

Owns seeds, gradient mode, bounded groups of images and the checks of the result; what an explainer
demands of its inputs, and that the model comes back as it was, is in ``inputs``. How a map is
computed is each leaf's business; how it is shown is nobody's here.
"""

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from statistics import fmean
from typing import Any, ClassVar, Generic, TypeVar, final

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from covid_debug.errors import ExplanationError, InputContractError
from covid_debug.models.batching import find_max_batch
from covid_debug.models.classifier import Classifier
from covid_debug.models.copies import find_fast_copy
from covid_debug.models.scoring import OutputScale, TargetScore
from covid_debug.perturbation.baselines import blur_baseline
from covid_debug.perturbation.upsampling import GridUpsampler
from covid_debug.saliency.inputs import preserved, require_inputs, single_precision
from covid_debug.saliency.joining import check_map, join_diagnostics, join_grids
from covid_debug.saliency.ranking import Ranking, rank_cells
from covid_debug.shapes import Images, KeepMask, Saliency, Targets

MIN_SCORE_GAP = 0.05
"""Least ``f(I) - f(B)`` for a map to mean anything, as a probability; see :func:`least_gap`."""

_MIN_MASK_MOVE = 1e-3
"""Least ``max(1 - M)`` of a keep mask that is said to have moved."""

VOID_REASONS = (
    "",
    "the score does not fall from the film to its baseline, so no pixel is evidence",
    "the mask did not move: no removal lowers the score by more than it costs",
    "the map is constant, so it ranks nothing",
    "noise of the configured size destroys the gap between the film and its baseline",
    "the score hardly changes over the random masks, so they tell nothing",
)
"""What each code of ``diagnostics["void_reason"]`` means; 0 is a valid explanation."""

VOID_GAP, VOID_UNMOVED, VOID_CONSTANT, VOID_NOISE, VOID_INSENSITIVE = 1, 2, 3, 4, 5

P = TypeVar("P")


@dataclass(frozen=True, slots=True)
class Source:
    """Where a method comes from.

    Attributes:
        paper: Bib key in ``docs/references.bib``.
        equations: What is implemented, in words or equation numbers.
        deviations: Known differences from the paper or its reference code, and why.
    """

    paper: str
    equations: str
    deviations: str = ""


@dataclass(frozen=True, slots=True)
class Explanation:
    """Maps of a batch of images with everything needed to judge them.

    Attributes:
        saliency: Finite, raw scale, larger = more evidence for the target.
        targets: Class index explained, per image.
        target_score: Score of the unperturbed image, on ``scale``.
        keep_mask: Mask grid before upsampling, 1 = pixel kept; None if the method has none.
        diagnostics: Tensors ``(N,)`` or ``(N, T)`` (a signed map: ``(N, 1, H, W)``). Always
            ``void`` (bool), ``void_reason`` (code of :data:`VOID_REASONS`), ``score_baseline``
            and ``score_gap``.
        method: Catalogue name.
        params: Exactly what was executed.
        scale: What was read from the model.
        seeds: One per image.
        n_evaluations: Images passed through the model for the whole batch.
        path_gradient: Gradient on the mask grid, averaged along the method's path, larger = more
            evidence; None if the method has none.
    """

    saliency: Float[Tensor, "N 1 H W"]
    targets: Int64[Tensor, " N"]
    target_score: Float[Tensor, " N"]
    keep_mask: Float[Tensor, "N 1 h w"] | None
    diagnostics: Mapping[str, Tensor]
    method: str
    params: Mapping[str, Any]
    scale: OutputScale
    seeds: tuple[int, ...]
    n_evaluations: int
    path_gradient: Float[Tensor, "N 1 h w"] | None = None

    def rank(self, ranking: Ranking) -> Saliency:
        """Return the map that another ranking of the same search gives, at image size.

        Args:
            ranking: See :func:`covid_debug.saliency.ranking.rank_cells`.

        Raises:
            InputContractError: If the method found no mask.
        """
        if self.keep_mask is None or self.path_gradient is None:
            raise InputContractError(
                f"{self.method}: found no mask that ranking {ranking!r} could use; take saliency"
            )
        cells = rank_cells(self.keep_mask, self.path_gradient, ranking)
        grid_size = (cells.shape[-2], cells.shape[-1])
        image_size = (self.saliency.shape[-2], self.saliency.shape[-1])
        return GridUpsampler(grid_size, image_size, self.saliency).upsample(cells)


@dataclass(frozen=True, slots=True)
class RawExplanation:
    """What a leaf returns for a group of images; the base class checks and completes it.

    Attributes:
        saliency: As in :class:`Explanation`.
        keep_mask: As in :class:`Explanation`.
        diagnostics: The leaf's own tensors, first axis ``N``. A leaf may report a reason of its
            own as ``void_reason``.
        path_gradient: As in :class:`Explanation`.
    """

    saliency: Saliency
    keep_mask: KeepMask | None = None
    diagnostics: Mapping[str, Tensor] = field(default_factory=dict)
    path_gradient: Float[Tensor, "N 1 h w"] | None = None


@dataclass(frozen=True)
class ImageGroup:
    """Images that are explained together, and what a method may use for it.

    The scores of the images and of their baselines are computed once, when first asked for.

    Attributes:
        score: Reads the model, for the targets of these images.
        images: Canonical images.
        baseline: What replaces their removed pixels.
        generators: One per image; decides that image's random draws alone.
        neutral: Intensity that the classifier's normalisation makes 0, over its planes.
    """

    score: TargetScore
    images: Images
    baseline: Images
    generators: Sequence[torch.Generator]
    neutral: float = 0.0

    @property
    def index(self) -> Tensor:
        """``0, ..., N - 1`` on the images' device."""
        return torch.arange(len(self.images), device=self.images.device)

    @cached_property
    def on_film(self) -> Float[Tensor, " N"]:
        """Scores of the images, ``f(I)``."""
        return self.score(self.images, self.index).detach()

    @cached_property
    def on_baseline(self) -> Float[Tensor, " N"]:
        """Scores of the baselines, ``f(B)``."""
        return self.score(self.baseline, self.index).detach()

    @property
    def unit(self) -> Float[Tensor, " N"]:
        """How large a change of each image's score counts as 1.

        Logits have no unit of their own: there it is ``|f(I) - f(B)|``, 1 where that is 0.
        """
        if self.score.scale != "logit":
            return self.images.new_ones(len(self.images))
        gap = (self.on_film - self.on_baseline).abs()
        return torch.where(gap > 0, gap, 1.0)


def least_gap(scale: OutputScale, first: Tensor, second: Tensor) -> Tensor:
    """Return the least difference of two scores that means anything.

    Logits have no unit of their own: there it is a share of the larger score's size, so that a
    network whose logits are a multiple of another's has the same maps.

    Args:
        scale: What the scores are.
        first: Scores.
        second: Scores of the same shape.

    Returns:
        A positive number for each pair, 0 where both logits are 0.
    """
    if scale != "logit":
        return torch.full_like(first, MIN_SCORE_GAP)
    return MIN_SCORE_GAP * torch.maximum(first.abs(), second.abs())


def explain_void_reason(explanation: Explanation, index: int) -> str | None:
    """Say in one sentence why the map of one image means nothing.

    Args:
        explanation: A result of :meth:`Explainer.explain`.
        index: Which image.

    Returns:
        The reason with the scores, or None for a valid explanation.
    """
    code = int(explanation.diagnostics["void_reason"][index])
    if code == 0:
        return None
    on_film = float(explanation.target_score[index])
    on_baseline = float(explanation.diagnostics["score_baseline"][index])
    return f"{VOID_REASONS[code]} (film {on_film:.3f}, baseline {on_baseline:.3f})"


class Explainer(ABC, Generic[P]):
    """A saliency method; instances hold parameters only, never a model or device memory.

    Attributes:
        name: Catalogue name.
        source: Paper, equations, deviations.
        needs_gradient: Whether the model is differentiated.
        stochastic: Whether seeds change the result.
        uses_baseline: Whether the map contrasts the film with a baseline, so that a small score
            gap between the two makes it void.
        repeats_model: Whether a map takes so many evaluations that a fast copy of the model pays.
        fixed_scale: Scale that the method's rules start from, whatever the caller asked for; the
            result's ``scale`` says so.
        n_settling: Images that :meth:`_settle` passes through the model, where it must.
    """

    name: ClassVar[str]
    source: ClassVar[Source]
    needs_gradient: ClassVar[bool]
    stochastic: ClassVar[bool]
    uses_baseline: ClassVar[bool] = True
    repeats_model: ClassVar[bool] = False
    fixed_scale: ClassVar[OutputScale | None] = None
    n_settling: ClassVar[int] = 0
    params: P

    def __init__(self, params: P) -> None:
        """Keep the parameters.

        Args:
            params: Frozen dataclass of the method.
        """
        self.params = params

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and other.params == self.params

    def __hash__(self) -> int:
        return hash((type(self), self.params))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.params!r})"

    @final
    def explain(
        self,
        classifier: Classifier,
        images: Images,
        targets: Targets,
        *,
        seeds: Sequence[int],
        baseline: Images | None = None,
        scale: OutputScale = "probability",
        max_batch: int | None = None,
    ) -> Explanation:
        """Explain why the classifier gives each image its target score.

        Image ``i`` of a batch gets the map that it gets alone, in any order and with any
        ``max_batch``, up to floating-point rounding. The classifier comes back as it was
        (training flags, ``requires_grad``, ``.grad``, hooks), also after an error; inputs and the
        global random state are not touched. Threads that explain by one network take turns.
        Under ``torch.autocast`` the model runs as it would, the method's own arithmetic in single
        precision; methods with rules on layers work on a copy of the network in single precision.

        Args:
            classifier: The model; run in evaluation mode.
            images: Canonical images, float32 in [0, 1], on the classifier's device.
            targets: Class index to explain, per image.
            seeds: One integer per image; decides that image's random draws alone.
            baseline: What replaces removed pixels; the papers' blur where None.
            scale: What is read from the model, unless the method has a fixed scale.
            max_batch: Most images in one model call. Bounds memory: images are explained in
                groups of at most this many. None: what the device holds.

        Returns:
            The maps and their diagnostics, on the images' device, detached.

        Raises:
            InputContractError: If an input violates the contract; the message names the first bad
                image.
            ExplanationError: If the method produced a non-finite or misshapen map.
            TypeError: If the model is no :class:`Classifier`.
        """
        require_inputs(
            self.name, classifier, images, targets, seeds, baseline=baseline, max_batch=max_batch
        )
        if self.needs_gradient:
            classifier.require_gradient(self.name)
        if self.needs_gradient and torch.is_inference_mode_enabled():
            raise InputContractError(
                f"{self.name}: needs gradients and cannot run under torch.inference_mode();"
                " leave that context first"
            )
        max_batch = find_max_batch(classifier) if max_batch is None else max_batch
        settled = self._settle(classifier)
        if settled != self.params:
            found = type(self)(settled).explain(
                classifier, images, targets, seeds=seeds, baseline=baseline, scale=scale,
                max_batch=max_batch,
            )  # fmt: skip
            return dataclasses.replace(found, n_evaluations=found.n_evaluations + self.n_settling)
        scale = self.fixed_scale or scale
        images, targets = images.detach(), targets.detach()
        baseline = blur_baseline(images) if baseline is None else baseline.detach()
        parts = []
        n_evaluations = 0
        with preserved(classifier), torch.no_grad(), single_precision(images) as autocast:
            model = find_fast_copy(classifier) if self.repeats_model else classifier
            for start in range(0, len(images), max_batch):
                part = slice(start, start + max_batch)
                score = TargetScore(
                    model, targets[part], scale=scale, max_batch=max_batch, autocast=autocast
                )
                generators = [
                    torch.Generator(images.device).manual_seed(int(seed)) for seed in seeds[part]
                ]
                group = ImageGroup(
                    score, images[part], baseline[part], generators, fmean(classifier.mean)
                )
                parts.append(self._explain_group(group, offset=start))
                n_evaluations += score.n_evaluations
        diagnostics = join_diagnostics([part.diagnostics for part in parts])
        target_score = diagnostics.pop("target_score")
        return Explanation(
            saliency=torch.cat([part.saliency for part in parts]).detach(),
            targets=targets.clone(),
            target_score=target_score,
            keep_mask=join_grids([part.keep_mask for part in parts]),
            diagnostics=diagnostics,
            method=self.name,
            params=dataclasses.asdict(self.params),  # type: ignore[call-overload]
            scale=scale,
            seeds=tuple(int(seed) for seed in seeds),
            n_evaluations=n_evaluations,
            path_gradient=join_grids([part.path_gradient for part in parts]),
        )

    def _settle(self, classifier: Classifier) -> P:  # noqa: ARG002
        """Return the parameters with what a classifier decides; most methods leave nothing open."""
        return self.params

    @abstractmethod
    def _explain(self, group: ImageGroup) -> RawExplanation:
        """Compute the maps of one group; gradient mode is off, the model is frozen."""

    def _explain_group(self, group: ImageGroup, *, offset: int) -> RawExplanation:
        images, on_film, on_baseline = group.images, group.on_film, group.on_baseline
        broken = (~(on_film + on_baseline).isfinite()).nonzero().flatten().tolist()
        if broken:
            raise ExplanationError(
                f"{self.name}: the classifier's score of image {offset + broken[0]} or of its"
                f" baseline is not finite ({len(broken)} of {len(images)} images); check the model"
            )
        raw = self._explain(group)
        check_map(self.name, raw.saliency, images, offset)
        gap = on_film - on_baseline
        flat = raw.saliency.flatten(1)
        reason = torch.zeros_like(group.index)
        if "void_reason" in raw.diagnostics:
            reason = raw.diagnostics["void_reason"].to(torch.int64)
        reason[(reason == 0) & (flat.amax(1) == flat.amin(1))] = VOID_CONSTANT
        if raw.keep_mask is not None:
            reason[(1 - raw.keep_mask).flatten(1).amax(1) < _MIN_MASK_MOVE] = VOID_UNMOVED
        if self.uses_baseline:
            too_small = gap < least_gap(group.score.scale, on_film, on_baseline)
            reason[too_small | (gap == 0)] = VOID_GAP
        return dataclasses.replace(
            raw,
            diagnostics={
                **raw.diagnostics,
                "void": reason != 0,
                "void_reason": reason,
                "score_baseline": on_baseline,
                "score_gap": gap,
                "target_score": on_film,
            },
        )
