"""What verdicts and baselines of the audit are called in the report."""

from covid_debug.audit.verdicts import Verdict

VERDICT_NAMES: dict[Verdict, str] = {
    "text_driven": "Driven by text",
    "text_sensitive": "Sensitive to text",
    "inconclusive": "Inconclusive",
    "not_text_driven": "Not driven by text",
}
# What the audit shows instead of a removed film: (all of it, as a ground for what is left).
BASELINE_NAMES = {
    "blur": ("blurred", "a blurred film"),
    "black": ("black", "a black picture"),
    "gray": ("gray", "a gray picture"),
    "white": ("white", "a white picture"),
}
UNKNOWN_BASELINE = ("removed", "an empty picture")
