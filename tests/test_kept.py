"""Results of probe-longrange --json are read back."""

import json

import pytest
from hostile import ODD, changed, paths
from msgspec import structs
from results import LESS, REFUSED, RUN, RUNS, TEMPLATES, with_span50

from chargen.errors import ChargenError
from chargen.probes.context.result import ContextResult
from chargen.probes.result import TRAINED, curve_section, read_result
from chargen.probes.templates.result import TemplatesResult
from chargen.render.report import to_html

CONTEXT = RUN.context[TRAINED]
INF = float("inf")
HALVES = [
    *((700.0, 620.0, 810.0), (700.0, 620.0, INF), (700.0, 0.0, 810.0), (INF, 900.0, INF)),
    *((INF, INF, INF), (0.0, 0.0, 5.0), (0.0, 0.0, 0.0)),
]


def again(values):
    return json.loads(json.dumps(values))


def written(tmp_path, values):
    file = tmp_path / "longrange.json"
    file.write_text(json.dumps(values), encoding="utf-8")
    return file


@pytest.mark.parametrize(
    "result",
    [
        *(TEMPLATES, REFUSED, *(with_span50(*half) for half in HALVES), *RUN.context.values()),
        with_span50(700.0, 620.0, 810.0, fits=False),
    ],
    ids=range(10 + len(RUN.context)),
)
def test_results_round_trip(result):
    told = again(result.to_json())
    read = type(result).from_json(told)
    assert again(read.to_json()) == told
    assert read.finding() == result.finding()


def test_a_run_is_found_by_its_name(tmp_path):
    one = read_result(written(tmp_path, RUN.to_json()), tmp_path / "elsewhere" / "long")
    assert one.templates.finding() == RUN.templates.finding()
    assert one.context[TRAINED].finding() == RUN.context[TRAINED].finding()
    pages = [to_html("", "", [curve_section(result)], ()) for result in (one, RUN)]
    assert pages[0] == pages[1]
    several = written(tmp_path, RUNS.to_json())
    assert read_result(several, tmp_path / "less").run == LESS.run
    with pytest.raises(ChargenError, match=r"is about runs/long, runs/less, not about .*other"):
        read_result(several, tmp_path / "other")


def test_another_file_is_refused_by_name(tmp_path):
    file = tmp_path / "longrange.json"
    with pytest.raises(
        ChargenError, match=r"longrange\.json: no such file; write it with chargen probe-longrange"
    ):
        read_result(file, tmp_path / "long")
    for data in (b"", b"[]", b"7", b"{}", b'{"runs": 3}', b'{"run": "long"}', b"\xff", b"{" * 999):
        file.write_bytes(data)
        with pytest.raises(ChargenError, match=r"longrange\.json: damaged, or not written by"):
            read_result(file, tmp_path / "long")


@pytest.mark.parametrize(
    ("kind", "result"),
    [
        (TemplatesResult, structs.replace(RUN.templates, rows=TEMPLATES.rows[:2])),
        (ContextResult, structs.replace(CONTEXT, rows=CONTEXT.rows[:3])),
    ],
)
def test_any_odd_value_is_refused_or_harmless(kind, result):
    told, refused = again(result.to_json()), 0
    for path in paths(told):
        for odd in ODD:
            try:
                read = kind.from_json(changed(told, path, odd))
            except (KeyError, TypeError, ValueError, AttributeError):
                refused += 1
                continue
            assert read.finding()
    assert refused > 100
