"""The tokenizer of the built-in model: byte-level BPE that cuts schema and SQL so that names can be copied.

A model this small learns to copy a name from the schema into the query only if both are the same tokens, so what stands
before a name never becomes part of it. Digits go in groups of at most four. Needs no torch.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from exspin.errors import MissingExtra

try:
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast
except ModuleNotFoundError as missing:
    raise MissingExtra("the tiny model", missing.name or "tokenizers", "train") from missing

# Where it may cut. A space goes to a keyword, an ordinary small word or a comma beside it, so a word that carries meaning
# is the same bare token in the question, in the schema and in the query, whatever stands before it: `doctor salaries`,
# `, salary`, `T1.salary`, `SELECT salary`, `(salary`.
_KEYWORDS = (
    "SELECT|DISTINCT|FROM|WHERE|GROUP|ORDER|BY|HAVING|LIMIT|JOIN|LEFT|INNER|OUTER|ON|AS|AND|OR|NOT|IN|IS|NULL|"
    "LIKE|BETWEEN|EXISTS|UNION|ALL|INTERSECT|EXCEPT|ASC|DESC|CASE|WHEN|THEN|ELSE|END|COUNT|SUM|AVG|MIN|MAX"
)
_SMALL_WORDS = (
    "a|about|an|any|are|at|be|been|both|but|can|could|did|do|does|each|either|every|find|for|get|give|had|has|have|how|"
    "i|it|its|many|me|more|most|much|need|no|of|one|only|over|please|show|tell|than|that|the|their|them|there|"
    "these|they|this|those|to|together|under|want|was|we|were|what|which|who|whose|will|with|without|would|you"
)
_TYPES = (
    "integer|int|text|varchar|char|real|float|double|numeric|decimal|date|datetime|bool|boolean"
)
_PIECES = "|".join(
    (
        r"(?:^|\n+)(?:table|view) ",  # a schema line; the name that follows is bare too
        rf" ?(?i:\b(?:{_KEYWORDS})(?![\p{{L}}\p{{N}}_])) ?",
        rf" ?(?i:\b(?:{_SMALL_WORDS})(?![\p{{L}}\p{{N}}_])) ?",
        rf" (?:{_TYPES})(?: primary key)?(?![\p{{L}}\p{{N}}_])",
        r"\b[Tt]\p{Nd}(?![\p{L}\p{N}_])",  # T1, T2: aliases
        r"\p{N}{1,4}",
        r"_?\p{Ll}+",
        r"_?\p{Lu}\p{Ll}+",
        r"_?[\p{L}\p{M}]+?(?=\p{Lu}\p{Ll}|[^\p{L}\p{M}]|$)",
        r" ?[=<>!|]+ ?",
        r" \(",
        r"[,:;] ?",
        r"\n+",
        r" +",
        r"[^\p{L}\p{N}\s]",
    )
)
_END, _PAD = "<|end|>", "<|pad|>"


def tiny_tokenizer(
    texts: Iterable[str], vocabulary: int, max_tokens: int
) -> PreTrainedTokenizerFast:
    """A tokenizer trained on `texts`; the same texts give the same file, and every text comes back from its tokens."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_PIECES), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[_END, _PAD],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    clean = (text.encode("utf-8", "replace").decode() for text in texts)  # no lone surrogates
    tokenizer.train_from_iterator(clean, trainer)
    wrap: Any = PreTrainedTokenizerFast
    wrapped: PreTrainedTokenizerFast = wrap(
        tokenizer_object=tokenizer,
        eos_token=_END,
        pad_token=_PAD,
        model_max_length=max_tokens,
        clean_up_tokenization_spaces=False,
        split_special_tokens=True,  # a question that says "<|end|>" must not end the prompt
    )
    return wrapped
