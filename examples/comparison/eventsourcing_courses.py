"""A course has room for so many students, a student takes at most five courses: with eventsourcing 9.5."""

from eventsourcing.dcb.application import DCBApplication
from eventsourcing.dcb.domain import Selector, Slice
from eventsourcing.dcb.msgpack import Decision
from eventsourcing.domain import event

COURSES_MAX = 5


class CourseDefined(Decision):
    course: str
    room: int


class StudentSubscribed(Decision):
    course: str
    student: str


class NotPossible(Exception):
    pass


class DefineCourse(Slice[Decision]):
    def __init__(self, course: str, room: int) -> None:
        self.course, self.room = course, room

    def consistency_boundary(self) -> Selector:
        return Selector(tags=[f"course:{self.course}"])

    def execute(self) -> None:
        self.trigger_event(CourseDefined, tags=[f"course:{self.course}"], course=self.course, room=self.room)


class Subscribe(Slice[Decision]):
    def __init__(self, course: str, student: str) -> None:
        self.course, self.student = course, student
        self.free = self.count = 0

    def consistency_boundary(self) -> list[Selector]:
        return [Selector(tags=[f"course:{self.course}"]), Selector(tags=[f"student:{self.student}"])]

    @event(CourseDefined)
    def _(self, room: int) -> None:
        self.free = room

    @event(StudentSubscribed)
    def _(self, course: str, student: str) -> None:
        if course == self.course:
            self.free -= 1
        if student == self.student:
            self.count += 1

    def execute(self) -> None:
        if self.free < 1:
            raise NotPossible("the course is full")
        if self.count >= COURSES_MAX:
            raise NotPossible("the student has enough")
        tags = [f"course:{self.course}", f"student:{self.student}"]
        self.trigger_event(StudentSubscribed, tags=tags, course=self.course, student=self.student)


class Enrolment(DCBApplication):
    env = {
        "PERSISTENCE_MODULE": "eventsourcing.dcb.popo",
        "MAPPER_TOPIC": "eventsourcing.dcb.msgpack:MessagePackMapper",
    }

    def subscribe(self, course: str, student: str) -> None:
        self.do(Subscribe(course, student))


def main() -> int:
    with Enrolment() as application:
        application.do(DefineCourse("physics", 2))
        application.subscribe("physics", "ada")
        application.subscribe("physics", "max")
        read = application.recorder.read()
        return len(list(read))


if __name__ == "__main__":
    print(main())
