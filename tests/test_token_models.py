"""Language models over tokens, randomly initialized, against computations one token at a time."""

import numpy as np
import pytest
import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from chargen.predictors import PredictorError, check, from_transformers, load_transformers

TEXT = "the clouds are in the sky and the ships are in the sea, they speak fluent french there " * 3
SIZES = {"hidden_size": 16, "num_hidden_layers": 2, "vocab_size": 320}
MODELS = {
    "gpt2": lambda: transformers.GPT2LMHeadModel(
        transformers.GPT2Config(vocab_size=320, n_embd=16, n_layer=2, n_head=2, n_positions=64)
    ),
    "pythia": lambda: transformers.GPTNeoXForCausalLM(
        transformers.GPTNeoXConfig(**SIZES, num_attention_heads=2, intermediate_size=32)
    ),
    "mamba": lambda: transformers.MambaForCausalLM(transformers.MambaConfig(**SIZES)),
    "rwkv": lambda: transformers.RwkvForCausalLM(
        transformers.RwkvConfig(**SIZES, attention_hidden_size=16)
    ),
}


@pytest.fixture(scope="module")
def tokenizers():
    """A byte-level tokenizer without and one with merges."""
    made = {}
    for name, size in (("bytes", 256), ("bpe", 320)):
        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        trainer = trainers.BpeTrainer(
            vocab_size=size, initial_alphabet=alphabet, special_tokens=["<s>"], show_progress=False
        )
        tokenizer.train_from_iterator([TEXT], trainer)
        made[name] = transformers.PreTrainedTokenizerFast(
            tokenizer_object=tokenizer, bos_token="<s>"
        )
    return made


@pytest.fixture(scope="module")
def networks():
    torch.manual_seed(0)
    return {name: make().eval() for name, make in MODELS.items()}


def next_token(network, tokens):
    """Return the distribution after some tokens, from one call without padding."""
    with torch.no_grad():
        logits = network(input_ids=torch.tensor([tokens])).logits[0, -1]
    return torch.softmax(logits.double(), 0).numpy()


def step_by_step(network, tokens, start):
    return sum(
        np.log(next_token(network, tokens[:n])[tokens[n]]) for n in range(start, len(tokens))
    )


@pytest.mark.parametrize("name", MODELS)
def test_a_byte_level_model_scores_one_byte_after_another(name, networks, tokenizers):
    network, tokenizer = networks[name], tokenizers["bytes"]
    scorer = from_transformers(network, tokenizer)
    check(scorer)
    whole = [tokenizer.bos_token_id, *tokenizer.encode("in the sky", add_special_tokens=False)]
    assert len(whole) == 11
    expected = step_by_step(network, whole, 8)
    assert scorer.log_prob("in the ", "sky") == pytest.approx(expected, abs=1e-4)
    several = scorer.log_probs(["in the ", "", "é"], ["sky", "in the sky", "à"])
    assert several[0] == pytest.approx(expected, abs=1e-4)
    assert several[1] == pytest.approx(step_by_step(network, whole, 1), abs=1e-4)


def test_a_context_may_end_inside_a_token(networks, tokenizers):
    network, tokenizer = networks["gpt2"], tokenizers["bpe"]
    scorer = from_transformers(network, tokenizer)
    begin = tokenizer.bos_token_id
    pieces = tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))
    the = [begin, *tokenizer.encode("in the", add_special_tokens=False)]
    whole = [begin, *tokenizer.encode("in the sky", add_special_tokens=False)]
    assert whole[: len(the)] == the
    assert pieces[whole[len(the)]].startswith("Ġ")  # the space belongs to the next token
    after = next_token(network, the)
    spaced = sum(after[n] for n, piece in enumerate(pieces) if piece.startswith("Ġ"))
    expected = step_by_step(network, whole, len(the)) - np.log(spaced)
    assert scorer.log_prob("in the ", "sky") == pytest.approx(expected, abs=1e-4)
    unspaced = step_by_step(network, whole, len(the))
    assert scorer.log_prob("in the", " sky") == pytest.approx(unspaced, abs=1e-4)
    for cut in range(1, 40):  # inside a word of several tokens
        assert scorer.log_prob(TEXT[:cut], TEXT[cut:40]) <= 0


def test_a_long_context_loses_its_beginning(networks, tokenizers):
    network, tokenizer = networks["gpt2"], tokenizers["bytes"]
    scorer = from_transformers(network, tokenizer)
    tokens = tokenizer.encode(TEXT[:103], add_special_tokens=False)
    expected = step_by_step(network, tokens[-64:], 61)
    assert scorer.log_prob(TEXT[:100], TEXT[100:103]) == pytest.approx(expected, abs=1e-4)
    with pytest.raises(PredictorError, match="longer than"):
        scorer.log_prob("a", TEXT[:80])


def test_a_saved_model_is_loaded(networks, tokenizers, tmp_path):
    networks["gpt2"].save_pretrained(tmp_path / "model")
    tokenizers["bpe"].save_pretrained(tmp_path / "model")
    scorer = load_transformers(tmp_path / "model")
    own = from_transformers(networks["gpt2"], tokenizers["bpe"])
    assert scorer.log_prob("the ", "sea") == pytest.approx(own.log_prob("the ", "sea"), abs=1e-5)
    with pytest.raises(PredictorError, match=r"hf:.*missing.* not a directory"):
        load_transformers(tmp_path / "missing")
