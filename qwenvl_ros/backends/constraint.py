"""Answers held to a JSON schema while transformers generates them, by xgrammar."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import torch
import xgrammar

from qwenvl_ros.backends.decoding import Row

MOST_BLANKS = 2
_CACHE_BYTES = 64 * 2**20  # every list of queries is a schema of its own


class Grammars:
    """Turns schemas into matchers for one tokenizer; schemas are compiled once, as far as memory for them goes.

    vocabulary: width of the network's logits. stop: tokens that may follow a complete answer.
    """

    def __init__(self, tokenizer: Any, vocabulary: int, stop: Collection[int]) -> None:
        info = xgrammar.TokenizerInfo.from_huggingface(
            tokenizer, vocab_size=vocabulary, stop_token_ids=list(stop)
        )
        self._compiler = xgrammar.GrammarCompiler(info, cache_limit_bytes=_CACHE_BYTES)
        self._vocabulary = vocabulary

    def matcher(self, schema: Mapping[str, Any]) -> xgrammar.GrammarMatcher:
        """A matcher at the beginning of an answer; up to two blanks may stand where JSON allows white space.

        Two are what Qwen3-VL writes (", ", a line break and a tab); without a limit a model can go on for ever.

        Raises:
            RuntimeError: xgrammar cannot read the schema.
        """
        return xgrammar.GrammarMatcher(
            self._compiler.compile_json_schema(dict(schema), max_whitespace_cnt=MOST_BLANKS)
        )

    def constraint(self, rows: Sequence[Row], opens: int | None) -> Constraint:
        """The logits processor for a batch; None in place of a matcher leaves a row free."""
        matchers = [self.matcher(row.request.schema) if row.request.schema else None for row in rows]
        return Constraint(rows, matchers, self._vocabulary, opens)


class Constraint:
    """Logits processor: rows with a matcher may choose only what it allows.

    opens: the token after which the schemas hold, the end of thinking; None = from the first token on.
    """

    def __init__(
        self,
        rows: Sequence[Row],
        matchers: Sequence[xgrammar.GrammarMatcher | None],
        vocabulary: int,
        opens: int | None,
    ) -> None:
        self._rows = rows
        self._matchers = matchers
        self._opens = opens
        self._held = [opens is None] * len(rows)
        self._begun = False
        self._mask = xgrammar.allocate_token_bitmask(len(rows), vocabulary)

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """(rows, tokens) ids so far and (rows, vocabulary) logits -> logits with -inf for what is not allowed."""
        if self._begun:
            self._accept(input_ids[:, -1].tolist())
        self._begun = True
        self._mask.fill_(-1)  # all bits: everything allowed
        for index, matcher in enumerate(self._matchers):
            if matcher is not None and self._held[index] and not matcher.is_terminated():
                matcher.fill_next_token_bitmask(self._mask, index)
        allowed = scores.clone()  # in place, and the model's own logits are still wanted
        xgrammar.apply_token_bitmask_inplace(allowed, self._mask.to(scores.device))
        return allowed

    def _accept(self, chosen: Sequence[int]) -> None:
        """Tell the matchers what their rows chose; rows that ended are padded, which is nobody's choice."""
        for index, (row, matcher, token) in enumerate(zip(self._rows, self._matchers, chosen, strict=True)):
            if row.ended or matcher is None:
                continue
            if not self._held[index]:
                self._held[index] = token == self._opens
            else:
                matcher.accept_token(token)
