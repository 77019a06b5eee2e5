"""Which questions a model is asked about each topic, and when a topic has enough prompts. Pure."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil

from engine.prompts.llm.response_parser import ParsedLine, Response, deduplication_key
from engine.seeds import sample_seed
from shards.codec import Pixels

ResponseKey = tuple[str, int]
"""Key of a topic, and number of the question."""


@dataclass(frozen=True, slots=True)
class Topic:
    """A class or a real image about which `target_count` prompts are written, each with one of `names`."""

    key: str  # the class name, or the SHA-256 of the image in hex
    class_name: str
    names: tuple[str, ...]
    instruction: str
    target_count: int
    load_image: Callable[[], Pixels] | None = None  # returns uint8 (height, width, 3)


ParseResponse = Callable[[Topic, Response], Sequence[ParsedLine]]
"""Returns the lines of a response about a topic, in order."""


@dataclass(frozen=True, slots=True)
class Question:
    """A request to a model. seed: below 2^31, which every server accepts."""

    topic: Topic
    number: int
    seed: int

    @property
    def key(self) -> ResponseKey:
        """The key of its response in the cache."""
        return self.topic.key, self.number

    def __str__(self) -> str:
        return f"{self.topic.key}, request {self.number}"


@dataclass
class TopicResult:
    """The prompts about one topic, from responses in the order of their numbers, until there are enough."""

    topic: Topic
    accepted: list[tuple[int, str]] = field(default_factory=list)  # number of the question, and prompt
    rejected: Counter[str] = field(default_factory=Counter)  # lines by reason
    used_responses: int = 0
    _deduplication_keys: set[str] = field(default_factory=set)

    @property
    def missing(self) -> int:
        """Number of prompts still to be written."""
        return self.topic.target_count - len(self.accepted)

    def add_responses(self, responses: Mapping[ResponseKey, Response], parse: ParseResponse) -> None:
        """Use the next responses, as far as they are available."""
        while self.missing and (response := responses.get((self.topic.key, self.used_responses))) is not None:
            for line in parse(self.topic, response):
                self._add_line(line)
            self.used_responses += 1

    def _add_line(self, line: ParsedLine) -> None:
        key = deduplication_key(line.text)
        rejection = line.rejection or ("duplicate" if key in self._deduplication_keys else "")
        if rejection:
            self.rejected[rejection] += 1
        elif self.missing:
            self.accepted.append((self.used_responses, line.text))
            self._deduplication_keys.add(key)


@dataclass(frozen=True)
class QuestionPlanner:
    """The questions of a job, until each topic has enough prompts or `patience` times the ideal number of questions."""

    topics: Sequence[Topic]
    seed: int
    per_request: int
    patience: float
    parse: ParseResponse

    def rounds(
        self, results: Sequence[TopicResult], responses: Mapping[ResponseKey, Response]
    ) -> Iterator[list[Question]]:
        """Yield the unanswered questions of each round; the caller adds their responses to `responses`.

        A round asks for what the previous round left missing. So a resumed job asks the same questions.
        """
        asked = dict.fromkeys((result.topic.key for result in results), 0)
        while stops := self._next_stops(results, asked):
            questions = [
                self.question(result.topic, number)
                for result, stop in stops
                for number in range(asked[result.topic.key], stop)
                if (result.topic.key, number) not in responses
            ]
            if questions:
                yield questions
            for result, stop in stops:
                asked[result.topic.key] = stop
                result.add_responses(responses, self.parse)

    def question(self, topic: Topic, number: int) -> Question:
        """Return question `number` about a topic."""
        index = int.from_bytes(topic.key.encode())
        return Question(topic, number, sample_seed(self.seed, index, number) >> 32)

    def _next_stops(self, results: Sequence[TopicResult], asked: Mapping[str, int]) -> list[tuple[TopicResult, int]]:
        """Return each topic that needs more questions, and the number of its questions after the next round."""
        stops = []
        for result in results:
            most = ceil(self.patience * ceil(result.topic.target_count / self.per_request))
            stop = min(most, asked[result.topic.key] + ceil(result.missing / self.per_request))
            if stop > asked[result.topic.key]:
                stops.append((result, stop))
        return stops
