"""From outcomes to pairs: which candidate is set against gold, and how much it weighs.

Rules, in every preset: candidates of one question with the same text are one pair with a multiplicity; a candidate
whose text is gold's weighs nothing (its margin is zero whatever the weights); so do `infra` and `gold_unusable`. Pairs
that weigh nothing are kept, so the file shows why. A candidate that was cut off at the length limit keeps its weight,
but only ever on the rejected side, and training gives it no end token: the model never wrote one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from exspin.presets import preset as find_preset
from exspin.records import Candidate, Example, Outcome, Pair, Verdict


def make_pairs(
    examples: Sequence[Example],
    candidates: Iterable[Candidate],
    verdicts: Iterable[Verdict],
    preset: str,
) -> list[Pair]:
    """One pair for each distinct candidate of each example, in the order of `examples` and then of k.

    A pair's weight is the preset's w(outcome) times the share of the question's candidates that it stands for. Every
    candidate needs its verdict; candidates of other examples are refused. Raises `ConfigError` for an unknown preset.
    """
    rule = find_preset(preset)
    outcomes = {(verdict.example_id, verdict.k): verdict.outcome for verdict in verdicts}
    of_example: dict[str, list[Candidate]] = {example.example_id: [] for example in examples}
    for candidate in candidates:
        of_example[candidate.example_id].append(candidate)
    pairs = []
    for example in examples:
        written = sorted(of_example[example.example_id], key=lambda candidate: candidate.k)
        for outcome, same in _distinct(written, outcomes):
            first = same[0]
            is_gold = first.text.strip() == example.query.strip()
            weight = 0.0 if is_gold else rule.weight(outcome) * len(same) / len(written)
            pairs.append(
                Pair(
                    example_id=example.example_id,
                    k=first.k,
                    outcome=outcome,
                    weight=weight,
                    gold=example.query,
                    candidate=first.text,
                    finish_reason=first.finish_reason,
                    multiplicity=len(same),
                    token_ids=first.token_ids,
                )
            )
    return pairs


def _distinct(
    written: Sequence[Candidate], outcomes: dict[tuple[str, int], Outcome]
) -> list[tuple[Outcome, list[Candidate]]]:
    """Candidates by text. One that failed for another reason (ours, or the clock) stays apart from its twins."""
    groups: dict[tuple[str, str, Outcome], list[Candidate]] = {}
    for candidate in written:
        outcome = outcomes[candidate.example_id, candidate.k]
        key = (candidate.text, candidate.finish_reason, outcome)
        groups.setdefault(key, []).append(candidate)
    return [(outcome, same) for (_, _, outcome), same in groups.items()]
