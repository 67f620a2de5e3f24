"""Language models over tokens, from the library transformers, as scorers of strings."""

from collections.abc import Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any

import numpy as np

from chargen.predictors.protocol import PredictorError

TOKENS_AT_ONCE = 4096  # of a batch, padding included


def from_transformers(model: Any, tokenizer: Any) -> "TokenModel":
    """Return a `TextScorer` of a causal language model of transformers, set to evaluation mode."""
    return TokenModel(model.eval(), tokenizer)


def load_transformers(path: str | Path) -> "TokenModel":
    """Return a `TextScorer` of the model in a directory that ``save_pretrained`` wrote.

    `PredictorError` if the package ``transformers`` is missing, or the directory holds no causal
    language model with safetensors weights and a tokenizer.
    """
    try:
        from transformers import AutoModelForCausalLM, AutoTokenizer
    except ImportError:
        raise PredictorError("hf: models need a package: pip install transformers") from None
    local: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    try:
        model = AutoModelForCausalLM.from_pretrained(path, use_safetensors=True, **local)
        tokenizer = AutoTokenizer.from_pretrained(path, **local)
    except (OSError, ValueError, KeyError) as error:
        reason = str(error).strip().splitlines()[0]
        raise PredictorError(
            f"hf:{path}: not a directory with a causal language model, safetensors weights and a "
            f"tokenizer ({reason})"
        ) from None
    return from_transformers(model, tokenizer)


class TokenModel:
    """A causal language model over tokens as a `TextScorer`.

    A text has many tokenizations, and the end of a context may lie inside a token: ``"the "``
    ends in a space that belongs to the token ``" sky"``. Context and continuation are therefore
    tokenized as one string. With s tokens shared with the tokens of the context alone, and r the
    rest of the context,

        log p(continuation | context) = sum of log p(token i | tokens before), i >= s,
                                        - log p(the next token begins with r | the s tokens)

    The last term is 0 where the context ends with a token, as it always does in a byte-level model.
    Where the next token is shorter than r, the term is the log-probability of the context's own
    tokens. A context longer than the model's maximum loses its beginning. The text follows the
    token for the beginning of a text, if the tokenizer has one; otherwise the first token of a text
    is not scored.
    """

    def __init__(self, model: Any, tokenizer: Any) -> None:
        self._model, self._tokenizer = model, tokenizer
        begin = tokenizer.bos_token_id
        begin = tokenizer.eos_token_id if begin is None else begin
        self._begin = [] if begin is None else [begin]
        self._most = getattr(model.config, "max_position_embeddings", None) or 2**20
        size = model.config.vocab_size
        known = min(size, len(tokenizer))
        pieces = tokenizer.convert_ids_to_tokens(list(range(known)))  # as the tokenizer spells them
        self._pieces = np.array([piece or "" for piece in pieces] + [""] * (size - known))

    def log_prob(self, context: str, continuation: str) -> float:
        return float(self.log_probs([context], [continuation])[0])

    def log_probs(self, contexts: Sequence[str], continuations: Sequence[str]) -> np.ndarray:
        """Return the log-probabilities in nats of N continuations, ``(N,)`` float64."""
        pairs = [
            (self._tokens(context), self._tokens(context + more))
            for context, more in zip(contexts, continuations, strict=True)
        ]
        found = np.zeros(len(pairs))
        by_length = sorted(range(len(pairs)), key=lambda n: len(pairs[n][1]))
        while by_length:
            longest = len(pairs[by_length[-1]][1])
            count = max(1, TOKENS_AT_ONCE // longest)
            by_length, batch = by_length[:-count], by_length[-count:]
            log_probs = self._read([pairs[n][1] for n in batch])
            for n, rows in zip(batch, log_probs, strict=True):
                found[n] = self._continuation(*pairs[n], rows)
        return found

    def _tokens(self, text: str) -> list[int]:
        tokens = self._tokenizer.encode(text, add_special_tokens=False) if text else []
        return [*self._begin, *tokens]

    def _read(self, rows: Sequence[Sequence[int]]) -> list[np.ndarray]:
        import torch
        from torch.nn.utils.rnn import pad_sequence

        device = next(self._model.parameters()).device
        ids = [torch.tensor(row[-self._most :], device=device) for row in rows]
        padded, mask = (pad_sequence(x, True) for x in (ids, [*map(torch.ones_like, ids)]))
        with torch.no_grad():
            logits = self._model(input_ids=padded, attention_mask=mask).logits
            log_probs = torch.log_softmax(logits.float(), dim=-1).cpu().numpy()
        return [found[: len(row)] for found, row in zip(log_probs, ids, strict=True)]

    def _continuation(
        self, context: Sequence[int], whole: Sequence[int], log_probs: np.ndarray
    ) -> float:
        # Without a token before it, the first token cannot be scored.
        same = takewhile(lambda pair: pair[0] == pair[1], zip(context, whole, strict=False))
        shared = max(1, len(list(same)))
        before = len(whole) - len(log_probs)  # tokens lost at the beginning
        if shared <= before:
            raise PredictorError("model: the continuation is longer than its maximum context")
        total = _sum(log_probs, whole, shared)
        rest = "".join(self._pieces[list(context[shared:])])
        if not rest:
            return total
        if not self._pieces[whole[shared]].startswith(rest):
            return min(0.0, total - _sum(self._read([context])[0], context, shared))
        after = log_probs[shared - 1 - before].astype(np.float64)
        begins = np.char.startswith(self._pieces, rest)
        return min(0.0, total - float(np.logaddexp.reduce(after[begins])))


def _sum(log_probs: np.ndarray, tokens: Sequence[int], first: int) -> float:
    """Return the log-probability of the tokens from ``first`` on; rows are the last tokens."""
    rows = np.arange(first - 1, len(tokens) - 1) - (len(tokens) - len(log_probs))
    return float(log_probs[rows, list(tokens[first:])].astype(np.float64).sum())
