"""The description of a run: what stands in it as text stays text."""

from covid_debug.tracking.describing import describe_run


def test_sentences_are_text_and_no_markup():
    hostile = "Source <img src=x onerror=alert(1)> ![a](//b.example/c.png) `d` *e* f\n# g | h"

    text = describe_run(["Did it? Yes. 4 of 5."], [hostile], (), "COVID-19")

    assert text.splitlines()[0] == "Did it? Yes."
    (line,) = [line for line in text.splitlines() if line.startswith("- Source")]
    assert line == (
        r"- Source &lt;img src=x onerror=alert(1)&gt; !\[a](//b.example/c.png) \`d\` \*e\* f"
        r" # g \| h"
    )
