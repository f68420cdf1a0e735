"""A sampler that writes what it is told: for tests, and for rounds whose outcomes must be known beforehand."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from exspin.errors import DataError
from exspin.generate import Progress
from exspin.records import Candidate, Prompt

Answer = Callable[[Prompt, int, int], str]  # (prompt, k, round_number) → text


class ScriptedSampler:
    """Answers from a function, or from a list for each example id (asked for more, it starts over)."""

    def __init__(self, answers: Answer | Mapping[str, Sequence[str]]) -> None:
        self._answers = answers
        self.released = 0

    def sample(
        self,
        prompts: Sequence[Prompt],
        *,
        k: int,
        round_number: int,
        progress: Progress | None = None,
    ) -> list[Candidate]:
        candidates = []
        for prompt in prompts:
            for number in range(k):
                text = self._text(prompt, number, round_number)
                candidates.append(Candidate(prompt.example_id, number, text, "stop"))
            if progress is not None:
                progress(k)
        return candidates

    def _text(self, prompt: Prompt, number: int, round_number: int) -> str:
        if not isinstance(self._answers, Mapping):
            return self._answers(prompt, number, round_number)
        script = self._answers.get(prompt.example_id)
        if not script:
            raise DataError(f"{prompt.example_id}: the script has no answer for this question")
        return script[number % len(script)]
