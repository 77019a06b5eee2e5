"""What is asked, and when it is enough. Pure: which prompts a bank holds follows from the answers alone, not from the
order in which they came."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil

from engine.prompts.llm.response_parser import ParsedLine, Response, deduplication_key
from engine.seeds import sample_seed
from shards.codec import Pixels

ResponseKey = tuple[str, int]
"""Key of a topic, and number of the request."""


@dataclass(frozen=True, slots=True)
class Topic:
    """A class, or a real image.

    key:         unique in the job: the class name, or the image's SHA-256 in hex.
    names:       what counts as the name of the class.
    instruction: what the model is told.
    want:        how many prompts are wanted.
    show:        gives the image that goes with the instruction: uint8 (height, width, 3).
    """

    key: str
    class_name: str
    names: tuple[str, ...]
    instruction: str
    want: int
    show: Callable[[], Pixels] | None = None


ParseResponse = Callable[[Topic, Response], Sequence[ParsedLine]]
"""What an answer about a topic says, in its order."""


@dataclass(frozen=True, slots=True)
class Question:
    """One request; `seed` is below 2^31, which every server takes."""

    topic: Topic
    number: int
    seed: int

    @property
    def key(self) -> ResponseKey:
        """Under what its answer is kept."""
        return self.topic.key, self.number

    def __str__(self) -> str:
        return f"{self.topic.key}, request {self.number}"


@dataclass
class TopicResult:
    """What the answers about one topic gave, taken in the order of their numbers until there is enough.

    kept:     number of the request and prompt.
    rejected: how many lines were turned down, by reason.
    taken:    how many answers were looked at.
    """

    topic: Topic
    kept: list[tuple[int, str]] = field(default_factory=list)
    rejected: Counter[str] = field(default_factory=Counter)
    taken: int = 0
    _seen: set[str] = field(default_factory=set)

    @property
    def lacking(self) -> int:
        """How many more are wanted."""
        return self.topic.want - len(self.kept)

    def take(self, answers: Mapping[ResponseKey, Response], read: ParseResponse) -> None:
        """Go on with the answers that are there."""
        while self.lacking and (answer := answers.get((self.topic.key, self.taken))) is not None:
            for line in read(self.topic, answer):
                self._take(line)
            self.taken += 1

    def _take(self, line: ParsedLine) -> None:
        reason = line.reason or ("duplicate" if deduplication_key(line.text) in self._seen else "")
        if reason:
            self.rejected[reason] += 1
        elif self.lacking:
            self.kept.append((self.taken, line.text))
            self._seen.add(deduplication_key(line.text))


@dataclass(frozen=True)
class QuestionPlanner:
    """Asks about topics until each has what is wanted, or the model has been asked `patience` times as often as it
    should take."""

    topics: Sequence[Topic]
    seed: int
    per_request: int
    patience: float
    read: ParseResponse

    def rounds(
        self, harvests: Sequence[TopicResult], answers: Mapping[ResponseKey, Response]
    ) -> Iterator[list[Question]]:
        """The questions still to be answered, round by round; the caller puts their answers into `answers`.

        A round asks for what the rounds before it left lacking, in all topics, so that a job that goes on asks what it
        would have asked anyway.
        """
        asked = dict.fromkeys((harvest.topic.key for harvest in harvests), 0)
        while more := [(one, stop) for one in harvests if (stop := self._stop(one, asked)) > asked[one.topic.key]]:
            questions = [
                self.question(one.topic, number)
                for one, stop in more
                for number in range(asked[one.topic.key], stop)
                if (one.topic.key, number) not in answers
            ]
            if questions:
                yield questions
            for one, stop in more:
                asked[one.topic.key] = stop
                one.take(answers, self.read)

    def _stop(self, harvest: TopicResult, asked: Mapping[str, int]) -> int:
        """How many requests about a topic there are to be after the next round."""
        most = ceil(self.patience * ceil(harvest.topic.want / self.per_request))
        return min(most, asked[harvest.topic.key] + ceil(harvest.lacking / self.per_request))

    def question(self, topic: Topic, number: int) -> Question:
        """Request `number` about a topic."""
        name = int.from_bytes(topic.key.encode())
        return Question(topic, number, sample_seed(self.seed, name, number) >> 32)
