"""Two models on the same sentences."""

from fakes import ORACLE, Remembers, Rule, cloze
from results import span_row, templates_result

from chargen.probes.templates.result import compare, finding_of

SPANS = (4, 16, 64)


def given(credits, span=4):
    return span_row(span, 0.5, credits=tuple(credits))


def compared(first, second):
    (pair,) = compare({"first": first, "second": second})
    return pair


def finding(**results):
    return finding_of(results, compare({n: one for n, one in results.items() if not one.refusal}))


def test_results_are_compared_sentence_by_sentence():
    pair = compared(
        templates_result(given([1, 1, 1, 1, 1, 1, 0, 0.5]), given([1.0] * 8, 8)),
        templates_result(given([1, 0, 0, 0, 0, 0.5, 1, 1]), given([0.0] * 8, 8)),
    )
    near, far = pair.spans
    assert (near.span, near.frames, near.only_first, near.only_second) == (4, 8, 5, 2)
    assert near.difference == 3 / 8
    assert near.p == 38 / 128  # of all signs of 1, 1, 1, 1, 1, 1/2 and 1/2
    assert near.p_holm == near.p  # the larger of the two
    assert (far.p, far.p_holm) == (2 / 256, 4 / 256)
    counts = {"span_chars": 8, "frames": 8, "only_first": 8, "only_second": 0, "difference": 1.0}
    names = {"instrument": "templates", "first": "first", "second": "second"}
    assert pair.to_json()[1] == names | counts | {"p": 2 / 256, "p_holm": 4 / 256}


def test_holm_is_over_all_spans_of_all_pairs():
    right, wrong = given([1.0] * 8), given([0.0] * 8)
    results = {
        name: templates_result(row) for name, row in zip("abc", (right, wrong, wrong), strict=True)
    }
    ab, ac, bc = compare(results)
    assert [(pair.first, pair.second) for pair in (ab, ac, bc)] == [*map(tuple, ("ab", "ac", "bc"))]
    assert [pair.spans[0].p_holm for pair in (ab, ac, bc)] == [6 / 256, 6 / 256, 1]
    assert [len(pair.ahead(1)) for pair in (ab, ac, bc)] == [1, 1, 0]
    assert compare({"a": templates_result(right)}) == ()


def test_the_finding_names_the_model_with_the_longer_memory():
    far, near = (cloze(one, SPANS, trained_timesteps=64) for one in (ORACLE, Remembers(16)))
    unknown = cloze(Rule(lambda *_: 3), SPANS, gate=0.9)
    found = finding(far=far, near=near)
    assert found == (
        "far has a longer memory than near: ahead at 64, by 88 percentage points at 64 "
        f"characters, span50 >64 against {near.span50.text()}"
    )
    assert finding(near=near, far=far) == found
    one = finding(far=far, unknown=unknown)
    assert one.startswith("far: remembers at least 64 characters")
    assert one.endswith("; not learned: unknown")
    assert finding(unknown=unknown) == "not learned: unknown"
    twins = finding(a=near, b=near, c=near)
    assert twins == "no significant difference between a and b, a and c, b and c"


def test_more_accurate_is_not_yet_farther():
    first = templates_result(given([1.0] * 300 + [0.0] * 100), given([1.0] * 400, 8))
    second = templates_result(given([1.0] * 200 + [0.0] * 200), given([1.0] * 400, 8))
    assert finding(a=first, b=second) == (
        "a is more accurate than b: ahead at 4, by 25 percentage points at 4 characters"
    )
    mixed = templates_result(given([1.0] * 400), given([0.0] * 400, 8))
    assert finding(a=mixed, b=second) == (
        "neither of a and b is ahead at all spans: a is ahead at 4, b is ahead at 8"
    )
