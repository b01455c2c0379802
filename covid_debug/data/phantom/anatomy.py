"""A procedural chest: what the X-rays cross, as line integrals summed over organs.

A radiograph shows attenuation added up along each ray, so every organ adds (or, for air, removes)
a thickness map. Owns the healthy anatomy and devices; disease signs live in ``signs``, the film's
exposure in ``exposure``.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from covid_debug.data.phantom.canvas import (
    Canvas,
    Plane,
    Points,
    Pose,
    cloud,
    ellipsoid,
    smooth,
    spline,
)

_N_RIBS = 10
_GAP_AXIS = np.array([1.20, 0.0])
# Half width of the rib cage at the lateral turn of rib 1..10, and where the ribs leave the spine.
_CAGE = np.array([0.40, 0.60, 0.74, 0.82, 0.87, 0.905, 0.93, 0.945, 0.95, 0.95])
_RIB_TOP = np.array([-1.0, -0.90, -0.77, -0.62, -0.46, -0.29, -0.12, 0.05, 0.22, 0.39])
_RIB_DROP = np.array([0.26, 0.42, 0.54, 0.62, 0.68, 0.72, 0.74, 0.74, 0.72, 0.68])


@dataclass(frozen=True, slots=True)
class Chest:
    """A healthy chest before exposure.

    Attributes:
        density: Attenuation along each ray, about 0 (air beside the body) to 1.6.
        lungs: Air thickness of both lungs in [0, 1]; 0 outside them.
        right: 1 inside the patient's right lung (left on the film), 0 elsewhere.
        left: 1 inside the patient's left lung.
        heart: 1 inside the silhouette of heart and great vessels, 0 elsewhere.
        x: Body coordinate of every pixel, see :class:`Pose`.
        y: Body coordinate of every pixel.
        pose: Where the body lies on the film.
    """

    density: Plane
    lungs: Plane
    right: Plane
    left: Plane
    heart: Plane
    x: Plane
    y: Plane
    pose: Pose


@dataclass(frozen=True, slots=True)
class Build:
    """What differs between patients, drawn once a patient."""

    stretch: float  # height of the chest against its width
    heart: float  # size of the heart, 1 = usual
    obesity: float  # 0 slim .. 1 obese: soft tissue, higher diaphragm
    bone: float  # contrast of bone, 1 = usual
    breasts: float  # thickness of breast shadows, 0 = none
    aorta: float  # size of the aortic knob
    shoulder: float  # height of the shoulders
    vessels: float  # strength of lung markings
    apex: float  # width of the upper lungs, 1 = usual
    arms: float  # how far the arms are held away from the trunk; 0 = no air between


def draw_build(rng: np.random.Generator) -> Build:
    """Return a randomly drawn physique."""
    return Build(
        stretch=rng.uniform(0.94, 1.14),
        heart=rng.normal(1.0, 0.09),
        obesity=rng.beta(1.6, 3.0),
        bone=rng.uniform(0.7, 1.25),
        breasts=rng.uniform(0.06, 0.22) if rng.random() < 0.4 else 0.0,
        aorta=rng.uniform(0.8, 1.25),
        shoulder=rng.uniform(-0.08, 0.08),
        vessels=rng.uniform(0.7, 1.4),
        apex=rng.uniform(0.92, 1.12),
        arms=rng.uniform(0.3, 1.2) if rng.random() < 0.5 else 0.0,
    )


def render_chest(build: Build, pose: Pose, rng: np.random.Generator) -> Chest:
    """Add up all organs of a healthy chest.

    Args:
        build: Physique of the patient.
        pose: Where the body lies on the film.
        rng: Draws what differs between films of one patient (breath, small anatomy, texture).

    Returns:
        The attenuation map with the geometry that disease signs need.
    """
    x, y = _breathing_grid(pose, build, rng)
    height, width = x.shape
    inspiration = rng.normal(0, 0.035) - 0.10 * build.obesity
    body = _body(pose, build, x)
    right, left = (_lung(pose, build, side, inspiration) for side in (-1, 1))
    lungs = np.maximum(_air(right, pose), _air(left, pose))
    cage = _bones(pose, build, rng)
    density = body * (0.62 + 0.20 * build.obesity) - 0.52 * lungs
    bulk, heart = _mediastinum(pose, build, x, y, inspiration, rng)
    density += bulk
    density += _abdomen(x, y, inspiration, rng) * np.float32(0.30)
    density += build.bone * cage * (0.35 + 0.65 * np.minimum(body * 2, 1))
    density += build.vessels * _vessels(pose, lungs, rng)
    density += _breasts(build, x, y, rng)
    density += np.float32(0.03) * cloud(rng, (height, width), pose.unit_px * 0.5) * body
    if rng.random() < 0.16:
        density += _electrodes(pose, rng)
    return Chest(np.maximum(density, 0), lungs, right, left, heart, x, y, pose)


def _breathing_grid(pose: Pose, build: Build, rng: np.random.Generator) -> tuple[Plane, Plane]:
    """Return body coordinates, slightly bent, so that no two chests are the same shape."""
    x, y = pose.grid()
    bend = np.float32(0.012)
    shape = x.shape
    x = x + bend * cloud(rng, shape, pose.unit_px * 0.9)
    y = y / np.float32(build.stretch) + bend * cloud(rng, shape, pose.unit_px * 0.9)
    return x.astype(np.float32), y.astype(np.float32)


def _stretched(points: Points, build: Build) -> Points:
    return np.asarray(points * np.array([1.0, build.stretch]))


def _body(pose: Pose, build: Build, x: Plane) -> Plane:
    """Return trunk, neck, shoulders and arms; thick in the middle, thin at the skin."""
    lift, fat = build.shoulder, 0.14 * build.obesity
    half = [
        (0.30 + fat / 2, -2.2), (0.29 + fat / 2, -1.45), (0.34 + fat, -1.25), (0.62, -1.13 + lift),
        (0.98, -1.04 + lift), (1.24, -0.92 + lift), (1.42 + fat, -0.60), (1.50 + fat, 0.0),
        (1.52 + fat, 0.9), (1.54 + fat, 2.2),
    ]  # fmt: skip
    outline = spline(half, 80)
    canvas = Canvas(pose)
    canvas.fill(_stretched(np.concatenate([outline, outline[::-1] * [-1, 1]]), build), 1.0)
    gap = spline([(1.10 + fat, 2.2), (1.11 + fat, 0.9), (1.08 + fat, 0.35), (1.02 + fat, -0.12),
                  (1.13 + fat, 0.3), (1.20 + fat, 0.9), (1.26 + fat, 2.2)])  # fmt: skip
    for side in (-1, 1):
        if build.arms:
            canvas.fill(
                _stretched((gap - _GAP_AXIS) * [build.arms, 1] + _GAP_AXIS, build) * [side, 1], 0.0
            )
    solid = canvas.read(0.004)
    depth = smooth(solid, pose.unit_px * 0.16)
    profile = np.float32(1.12) - np.float32(0.22) * np.minimum(np.abs(x), np.float32(1.4)) ** 2
    return np.asarray(solid * np.sqrt(np.maximum(depth, 0)) * np.maximum(profile, 0.3), np.float32)


def _lung_edge(y: float) -> float:
    return float(np.interp(y, _RIB_TOP + _RIB_DROP / 2, _CAGE)) - 0.035


def _lung(pose: Pose, build: Build, side: int, inspiration: float) -> Plane:
    """Return a filled lung; ``side`` is -1 for the patient's right, +1 for the left."""
    floor = 0.55 + inspiration + (0.05 if side > 0 else 0.0)
    heart = build.heart
    lateral = [(_lung_edge(level), level) for level in (-0.76, -0.6, -0.4, -0.15, 0.15, 0.45)]
    lateral = [(reach * (1 + (build.apex - 1) * (0.45 - level)), level) for reach, level in lateral]
    dome = [
        (0.905, floor + 0.10), (0.875, floor + 0.20), (0.80, floor + 0.12), (0.64, floor + 0.02),
        (0.43, floor - 0.03), (0.25, floor + 0.01),
    ]  # fmt: skip
    if side > 0:
        medial = [(0.16, 0.3), (0.14, 0.0), (0.13, -0.35), (0.12, -0.6), (0.15, -0.85)]
    else:
        medial = [(0.13 * heart, 0.3), (0.14, 0.0), (0.12, -0.35), (0.11, -0.6), (0.14, -0.85)]
    apex = [(0.22, -0.97), (0.34 * build.apex, -0.985), (0.45 * build.apex, -0.92)]
    knots = [*apex, *lateral, *dome, *medial, apex[0]]
    canvas = Canvas(pose)
    canvas.fill(_stretched(spline(knots, 120) * [side, 1], build), 1.0)
    return canvas.read(0.006)


def _air(lung: Plane, pose: Pose) -> Plane:
    """Return air thickness: steep at the edge, full a third of a body unit inside."""
    inside = (lung > 0.5).astype(np.uint8)
    depth = cv2.distanceTransform(inside, cv2.DIST_L2, 3) / np.float32(0.34 * pose.unit_px)
    depth = smooth(np.minimum(depth, 1).astype(np.float32), 0.008 * pose.unit_px)
    profile = np.sqrt(np.maximum(1 - (1 - depth) ** 2, 0))
    return np.asarray(lung * (np.float32(0.30) + np.float32(0.70) * profile), np.float32)


def _bones(pose: Pose, build: Build, rng: np.random.Generator) -> Plane:
    back, front, girdle = Canvas(pose), Canvas(pose), Canvas(pose)
    for side in (-1, 1):
        jitter = rng.normal(0, 0.012, _N_RIBS)
        for rib in range(_N_RIBS):
            _draw_rib(back, front, build, rib, side, float(jitter[rib]))
        _draw_shoulder_girdle(girdle, build, side, rng)
    spine = Canvas(pose)
    _draw_spine(spine, build, rng)
    fade = 0.16 * back.read(0.007) + 0.07 * front.read(0.013)
    return np.asarray(fade + 0.24 * girdle.read(0.010) + 0.15 * spine.read(0.014), np.float32)


def _draw_rib(
    back: Canvas, front: Canvas, build: Build, rib: int, side: int, jitter: float
) -> None:
    """One rib as a tilted hoop seen from the front: x = A sin(phi), y = y0 + drop (1-cos phi)/2.

    The back half runs from the spine to the side of the chest, the front half comes back lower.
    Cortical bone makes the two borders of a rib brighter than its middle.
    """
    reach, top, drop = _CAGE[rib], _RIB_TOP[rib] + jitter, _RIB_DROP[rib]
    for canvas, start, stop, width in ((back, 0.10, 1.62, 0.062), (front, 1.62, 2.45, 0.074)):
        phi = np.linspace(start, stop, 26)
        hoop = np.stack(
            [
                side * reach * (1 + (build.apex - 1) * (0.45 - top)) * np.sin(phi) ** 0.86,
                top + drop * (1 - np.cos(phi)) / 2 - 0.05 * np.exp(-(((phi - 0.55) / 0.35) ** 2)),
            ],
            axis=1,
        )
        hoop = _stretched(hoop, build)
        taper = width * np.interp(phi, [0.1, 0.5, 1.6, 2.3, 2.45], [0.7, 0.9, 0.8, 1.05, 0.9])
        canvas.tube(hoop, taper, 0.90)
        canvas.tube(hoop, taper * 0.58, 0.55)


def _draw_shoulder_girdle(
    canvas: Canvas, build: Build, side: int, rng: np.random.Generator
) -> None:
    lift = build.shoulder + rng.normal(0, 0.02)
    blade = spline([(0.96, -0.86), (0.84, -0.62), (0.80, -0.30), (0.86, 0.02), (0.97, -0.15),
                    (1.06, -0.45), (1.10, -0.72)], 40)  # fmt: skip
    canvas.fill(_stretched(blade * [side, 1] + [0, lift], build), 0.13)
    edge = spline([(0.84, -0.62), (0.80, -0.30), (0.86, 0.02), (0.97, -0.15), (1.08, -0.5)], 30)
    canvas.tube(_stretched(edge * [side, 1] + [0, lift], build), np.full(30, 0.020), 0.30)
    arm = spline([(1.20, -0.80), (1.27, -0.45), (1.31, 0.1), (1.33, 0.9)], 30)
    for scale, level in ((1.0, 0.95), (0.55, 0.6)):
        bone = np.interp(np.linspace(0, 1, 30), [0, 0.12, 0.35, 1], [0.24, 0.22, 0.13, 0.12])
        canvas.tube(_stretched(arm * [side, 1] + [0, lift], build), bone * scale, level)
    collar = spline(
        [(0.09, -0.72), (0.24, -0.77), (0.45, -0.84), (0.70, -0.93), (0.92, -0.95), (1.10, -0.90)],
        40,
    )
    collar = _stretched(collar * [side, 1] + [0, lift * 0.7], build)
    width = np.interp(np.linspace(0, 1, 40), [0, 0.1, 0.5, 1], [0.10, 0.08, 0.058, 0.085])
    canvas.tube(collar, width, 0.80)
    canvas.tube(collar, width * 0.55, 0.48)


def _draw_spine(canvas: Canvas, build: Build, rng: np.random.Generator) -> None:
    phase = rng.uniform(0, 0.16)
    for level in np.arange(-1.6, 1.5, 0.165) + phase:
        half = 0.085 + 0.012 * level
        box = np.array([(-half, 0.0), (-half * 0.88, 0.065), (-half, 0.135), (half, 0.135),
                        (half * 0.88, 0.065), (half, 0.0)])  # fmt: skip
        canvas.fill(_stretched(box + np.array([0, level]), build), 0.72)
        inner = box * [0.84, 0.74] + [0, 0.018 + level]
        canvas.fill(_stretched(inner, build), 0.50)
        process = np.array(
            [(-0.012, 0.05), (0.012, 0.05), (0.018, 0.12), (0.0, 0.15), (-0.018, 0.12)]
        )
        canvas.fill(_stretched(process + np.array([0, level]), build), 0.95)
        for side in (-1, 1):
            pedicle = spline(
                [(0.05, 0.03), (0.068, 0.05), (0.05, 0.075), (0.036, 0.05), (0.05, 0.03)], 12
            )
            canvas.fill(_stretched(pedicle * [side, 1] + [0, level], build), 0.82)


def _mediastinum(
    pose: Pose, build: Build, x: Plane, y: Plane, inspiration: float, rng: np.random.Generator
) -> tuple[Plane, Plane]:
    """Return heart and great vessels less the airway, and their silhouette."""
    heart = build.heart
    shift = rng.normal(0, 0.015)
    canvas = Canvas(pose)
    vascular = spline([
        (-0.14, -1.05), (-0.13, -0.7), (-0.135, -0.35), (-0.17, -0.08), (-0.25 * heart, 0.12),
        (-0.28 * heart, 0.34), (-0.22 * heart, 0.56), (-0.10, 0.72), (0.30, 0.74),
        (0.56 * heart, 0.66), (0.60 * heart, 0.50), (0.49 * heart, 0.27), (0.34 * heart, 0.06),
        (0.22, -0.10), (0.19, -0.24), (0.13 + 0.07 * build.aorta, -0.36),
        (0.12 + 0.08 * build.aorta, -0.46), (0.11, -0.58), (0.12, -0.8), (0.13, -1.05),
    ], 120)  # fmt: skip
    canvas.fill(_stretched(vascular + np.array([shift, 0]), build), 1.0)
    silhouette = canvas.read(0.012)
    bulk = np.float32(0.22) * silhouette
    bulk += np.float32(0.24) * ellipsoid(x, y, (0.12 + shift, 0.38), (0.42 * heart, 0.44))
    bulk *= 1 - np.float32(0.85) * _below(y, 0.62 + inspiration, 0.10)
    bulk += np.float32(0.10) * np.exp(-((x / np.float32(0.20)) ** 2))
    airway = Canvas(pose)
    lean = rng.normal(0.0, 0.012)
    trachea = spline([(lean, -1.7), (lean, -1.0), (-0.015 + lean, -0.6), (-0.02, -0.32)], 30)
    airway.tube(_stretched(trachea, build), np.full(30, 0.088), 1.0)
    for side, end in ((-1, (-0.19, -0.10)), (1, (0.21, -0.12))):
        bronchus = spline([(-0.02, -0.34), (side * 0.07, -0.24), end], 16)
        airway.tube(_stretched(bronchus, build), np.linspace(0.07, 0.045, 16), 0.75)
    return np.asarray(bulk - 0.13 * airway.read(0.012), np.float32), silhouette


def _abdomen(x: Plane, y: Plane, inspiration: float, rng: np.random.Generator) -> Plane:
    """Return liver and stomach below the diaphragm, sometimes with a gas bubble."""
    abdomen = _below(y, 0.58 + inspiration, 0.07) * (1 - np.float32(0.10) * _below(x, 0.0, 0.1))
    if rng.random() < 0.6:
        center = (rng.uniform(0.35, 0.6), 0.80 + inspiration)
        abdomen -= np.float32(rng.uniform(0.6, 1.3)) * ellipsoid(
            x, y, center, (rng.uniform(0.10, 0.22), rng.uniform(0.05, 0.10))
        )
    return np.asarray(abdomen, np.float32)


def _below(y: Plane, level: float, softness: float) -> Plane:
    """Return a smooth step: 0 well above ``level``, 1 well below."""
    scaled = np.clip((y - np.float32(level)) / np.float32(softness), -30, 30)
    return np.asarray(1 / (1 + np.exp(-scaled)), np.float32)


def _vessels(pose: Pose, lungs: Plane, rng: np.random.Generator) -> Plane:
    """Return hilar vessels that branch and thin out, and fine texture."""
    canvas = Canvas(pose)
    for side in (-1, 1):
        hilum = np.array([side * 0.20, -0.06 if side < 0 else -0.10])
        for _ in range(26):
            _draw_branch(canvas, hilum + rng.normal(0, 0.03, 2), side, rng)
    fine = cloud(rng, lungs.shape, max(2.0, pose.unit_px * 0.018))
    coarse = cloud(rng, lungs.shape, pose.unit_px * 0.05)
    texture = np.float32(0.012) * fine + np.float32(0.014) * coarse
    hila = Canvas(pose)
    for side in (-1, 1):
        turn = np.linspace(0, 2 * np.pi, 24)
        oval = np.stack([side * 0.19 + 0.07 * np.cos(turn), 0.13 * np.sin(turn) - 0.04], axis=1)
        hila.fill(oval, 1.0)
    tree = canvas.read(0.007)
    soft_hila = smooth(hila.read(0.0), 0.05 * pose.unit_px)
    return np.asarray((0.15 * tree + texture) * np.sqrt(lungs) + 0.07 * soft_hila, np.float32)


def _draw_branch(canvas: Canvas, start: Points, side: int, rng: np.random.Generator) -> None:
    angle = rng.uniform(-1.25, 1.35)
    n_steps = int(rng.integers(8, 16))
    turns = np.cumsum(rng.normal(0, 0.13, n_steps)) + angle
    steps = np.stack([side * np.cos(turns), np.sin(turns)], axis=1) * 0.042
    points = np.concatenate([start[None], start + np.cumsum(steps, axis=0)])
    width = rng.uniform(0.022, 0.045)
    canvas.tube(points, np.linspace(width, width * 0.2, len(points)), rng.uniform(0.55, 1.0))
    if n_steps > 9:
        fork = int(rng.integers(3, 7))
        twigs = np.cumsum(rng.normal(0, 0.12, 7)) + turns[fork] + rng.choice([-0.6, 0.6])
        steps = np.stack([side * np.cos(twigs), np.sin(twigs)], axis=1) * 0.036
        twig = np.concatenate([points[fork][None], points[fork] + np.cumsum(steps, axis=0)])
        canvas.tube(twig, np.linspace(width * 0.6, width * 0.15, len(twig)), 0.6)


def _breasts(build: Build, x: Plane, y: Plane, rng: np.random.Generator) -> Plane:
    """Return soft shadows over the lower lungs with a round lower border."""
    if build.breasts == 0:
        return np.zeros_like(x)
    level = rng.normal(0.38, 0.05)
    shadow = sum(
        ellipsoid(x, y, (side * 0.56, level), (0.40, 0.36))
        * (1 / (1 + np.exp(-(y - level + 0.1) / 0.1)))
        for side in (-1, 1)
    )
    return np.asarray(build.breasts * shadow, np.float32)


def _electrodes(pose: Pose, rng: np.random.Generator) -> Plane:
    """Return monitoring electrodes with their leads, as on films of patients in bed."""
    canvas = Canvas(pose)
    thickness = max(1, round(pose.unit_px / 110))
    for _ in range(int(rng.integers(2, 5))):
        spot = np.array([rng.uniform(-0.8, 0.8), rng.uniform(-0.7, 0.6)])
        ring = np.linspace(0, 2 * np.pi, 24)
        disc = np.stack([np.cos(ring), np.sin(ring)], axis=1)
        canvas.fill(spot + disc * 0.035, 0.55)
        canvas.fill(spot + disc * 0.016, 1.0)
        exit_x = spot[0] + rng.normal(0, 0.25)
        lead = spline([tuple(spot), (spot[0] + rng.normal(0, 0.15), spot[1] + 0.3),
                       (exit_x, spot[1] + 0.7), (exit_x + rng.normal(0, 0.2), 1.9)])  # fmt: skip
        canvas.line(lead, thickness, 0.6)
    return np.asarray(np.float32(0.45) * canvas.read(0.003), np.float32)
