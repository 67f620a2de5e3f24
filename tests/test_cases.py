"""The frames that the template instrument asks."""

from dataclasses import replace

import numpy as np
import pytest
from readers import BANK, CHINESE, ORACLE, Remembers, measure

from chargen.errors import ChargenError
from chargen.probes.templates import cases
from chargen.probes.templates import measure as templates


def test_a_bank_is_asked_the_spans_that_it_has():
    assert cases.nearest_spans(BANK, templates.SPANS) == templates.SPANS
    assert cases.nearest_spans(CHINESE, templates.SPANS) == templates.SPANS
    long_lead = replace(BANK.fact_sets[0], lead=", sold on in ")  # 13 characters
    bank = replace(BANK, name="my.bank", fact_sets=(long_lead, BANK.fact_sets[1]))
    # 4 + a phrase or two has to be 13 + another: no span under 17 is in both.
    assert cases.nearest_spans(bank, ())[0] > 13
    told = measure(Remembers(100, bank), bank=bank, spans=None, gate=templates.KNOWLEDGE_GATE)
    spans = [row.span for row in told.rows]
    assert spans == list(cases.nearest_spans(bank, templates.SPANS))
    assert spans[2:] == [64, 128, 256, 512, 1024]
    for span in spans:
        assert cases.make(bank, span, 32, 0)


def test_sets_of_facts_without_a_span_in_common_are_refused():
    even = replace(BANK.fact_sets[0], lead=" and in ")
    odd = replace(BANK.fact_sets[1], lead=" just of ")
    bank = replace(BANK, fact_sets=(even, odd), test=(", sent late ",), links=(" now", " too"))
    with pytest.raises(ChargenError, match=r"english\.bank: its sets .* no span in common"):
        cases.nearest_spans(bank, ())


def test_frames_are_balanced_and_batches_need_no_padding():
    for span in (4, 64):
        batches = cases.make(BANK, span, templates.FRAMES, 0)
        assert sum(len(batch.frames) for batch in batches) >= templates.FRAMES
        for facts in BANK.fact_sets:
            for decoyed in (False, True):
                answers = [
                    frame.answer
                    for batch in batches
                    for frame in batch.frames
                    if batch.facts is facts and (frame.decoy is not None) == decoyed
                ]
                assert len(set(np.bincount(answers, minlength=8).tolist())) == 1
        for batch in batches:
            assert len(set(map(len, batch.contexts))) == 1
            for frame, context, cueless in zip(
                batch.frames, batch.contexts, batch.cueless, strict=True
            ):
                assert context.endswith(frame.text)
                assert len(context) - len(frame.text) >= cases.PREFIX_CHARS[0]
                cue = batch.facts.cues[frame.answer]
                assert context[-span - len(cue) : -span] == cue
                assert cueless[-span - len(cue) : -span] == "abroad"
                assert cueless[-span:] == context[-span:]


def test_a_span_that_the_bank_lacks_names_its_neighbours():
    with pytest.raises(ChargenError, match=r"span 12: .* nearest are 8, 14, 15"):
        measure(ORACLE, spans=(4, 12))


def test_another_facts_cue_goes_in_the_cues_place_and_each_pair_comes_once():
    for batch in (batch.without_decoys() for batch in cases.make(BANK, 16, 224, 0)):
        cue = len(batch.facts.cues[0])
        pairs = list(zip(batch.answers.tolist(), batch.others.tolist(), strict=True))
        assert len(set(pairs)) == len(pairs) == 8 * 7
        assert all(own != other for own, other in pairs)
        for other, context, recued in zip(batch.others, batch.contexts, batch.recued, strict=True):
            assert recued[-16 - cue : -16] == batch.facts.cues[other]
            assert recued[: -16 - cue] == context[: -16 - cue]
            assert recued[-16:] == context[-16:]
