"""The tokenizer of the built-in model: byte-level BPE that cuts schema and SQL so that names can be copied.

A model this small learns to copy a name from the schema into the query only if both are the same tokens, so what stands
before a name never becomes part of it. Digits stand alone. Needs no torch.
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

# Where it may cut. Spaces go to SQL keywords, commas and operators, so an identifier is the same bare
# token in the schema and in the query, whatever stands before it (`, name`, `T1.name`, `SELECT name`, `(name`). Words of
# a question keep their leading space when they are lower case; a capitalised word is bare, as it is inside quotes.
_KEYWORDS = (
    "SELECT|DISTINCT|FROM|WHERE|GROUP|ORDER|BY|HAVING|LIMIT|JOIN|LEFT|INNER|OUTER|ON|AS|AND|OR|NOT|IN|IS|NULL|"
    "LIKE|BETWEEN|EXISTS|UNION|ALL|INTERSECT|EXCEPT|ASC|DESC|CASE|WHEN|THEN|ELSE|END|COUNT|SUM|AVG|MIN|MAX"
)
_PIECES = "|".join(
    (
        r"(?:^|\n+)(?:table|view) ",  # a schema line; the name that follows is bare too
        rf" ?(?i:\b(?:{_KEYWORDS})(?![\p{{L}}\p{{N}}_])) ?",
        r"\b[Tt]\p{Nd}(?![\p{L}\p{N}_])",  # T1, T2: aliases
        r"\p{N}",
        r"[ _]?\p{Ll}+",
        r"_?\p{Lu}\p{Ll}+",
        r"_?[\p{L}\p{M}]+?(?=\p{Lu}\p{Ll}|[^\p{L}\p{M}]|$)",
        r" ?[=<>!|]+ ?",
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
