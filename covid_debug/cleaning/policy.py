"""What happens to a piece of text because of what it says: removed, kept or replaced.

Owns the decision for each region. What a region says is decided by :mod:`covid_debug.text.kinds`,
what a film looks like then by :mod:`covid_debug.cleaning.film`.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Final, Literal, get_args

from covid_debug.errors import InputContractError, suggest
from covid_debug.records import REGION_KINDS, FilmRegions, RegionKind, TextRegion

RegionAction = Literal["remove", "keep", "replace"]
Policy = Mapping[RegionKind, RegionAction]
"""Kind -> what is done to regions of that kind; what is not named is removed."""

ACTIONS: Final[tuple[RegionAction, ...]] = get_args(RegionAction)
_UNREAD: Final = ("unknown", "annotation")  # of these nothing needs to be read


def check_policy(policy: object, where: str = "policy") -> None:
    """Refuse what is no policy.

    Args:
        policy: What is to be one.
        where: What the message starts with.

    Raises:
        InputContractError: Naming the kind or action that is unknown.
    """
    if not isinstance(policy, Mapping):
        raise InputContractError(
            f"{where} is {policy!r}; expected kinds of text with what is done to them, such as"
            " {side_marker: keep}"
        )
    for kind, action in policy.items():
        if kind not in REGION_KINDS:
            raise InputContractError(
                f"{where}: unknown kind {kind!r}{suggest(str(kind), REGION_KINDS)} (known:"
                f" {', '.join(REGION_KINDS)})"
            )
        if action not in ACTIONS:
            raise InputContractError(
                f"{where}: {kind} is {action!r}; expected one of {', '.join(ACTIONS)}"
            )


def decide_actions(regions: Iterable[TextRegion], policy: Policy) -> list[RegionAction]:
    """Return what is done to each region."""
    return [policy.get(region.kind, "remove") for region in regions]


def without_kept(found: FilmRegions, policy: Policy) -> FilmRegions:
    """Return the regions of a film of which something is done to the pixels."""
    actions = decide_actions(found.regions, policy)
    changed = [r for r, action in zip(found.regions, actions, strict=True) if action != "keep"]
    return replace(found, regions=tuple(changed))


def needs_reading(policy: Policy) -> bool:
    """Tell whether a policy treats text differently by what it says."""
    return any(action != "remove" and kind not in _UNREAD for kind, action in policy.items())


def find_risks(policy: Policy) -> list[str]:
    """Return one sentence for each choice that a user should think of twice."""
    risks = []
    if policy.get("identity", "remove") == "keep":
        risks.append(
            "policy identity=keep leaves names and long numbers on the films: they may tell who a"
            " patient is"
        )
    if policy.get("unknown", "remove") == "keep":
        risks.append(
            "policy unknown=keep leaves all text on the films that nobody could read or name, which"
            " may be a name or a number"
        )
    return risks


def parse_policy(items: Sequence[str], where: str = "--policy") -> dict[RegionKind, RegionAction]:
    """Read a policy from texts ``"KIND=ACTION"``.

    Returns:
        The policy.

    Raises:
        InputContractError: If one is of another form, or a kind stands twice.
    """
    policy: dict[str, str] = {}
    for item in items:
        kind, sign, action = (part.strip() for part in item.partition("="))
        if not sign or kind in policy:
            problem = "the kind stands twice" if sign else "expected KIND=ACTION"
            raise InputContractError(
                f"{where} {item!r}: {problem}, such as {where} side_marker=keep (kinds:"
                f" {', '.join(REGION_KINDS)}; actions: {', '.join(ACTIONS)})"
            )
        policy[kind] = action
    check_policy(policy, where)
    return policy  # type: ignore[return-value]  # checked
