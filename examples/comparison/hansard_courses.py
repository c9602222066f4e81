"""A course has room for so many students, a student takes at most five courses: with Hansard."""

from dataclasses import dataclass
from typing import Any

import hansard
from hansard import Query, View

COURSES_MAX = 5


@hansard.event("course-defined", tags=["course:{course}"])
@dataclass(frozen=True)
class CourseDefined:
    course: str
    room: int


@hansard.event("student-subscribed", tags=["course:{course}", "student:{student}"])
@dataclass(frozen=True)
class StudentSubscribed:
    course: str
    student: str


class NotPossible(Exception):
    pass


def free_places(course: str) -> View:
    def after(free: int, event: CourseDefined | StudentSubscribed) -> int:
        return event.room if isinstance(event, CourseDefined) else free - 1

    return View(Query(tags={f"course:{course}"}), 0, after)


def courses_of(student: str) -> View:
    def after(count: int, event: StudentSubscribed) -> int:
        return count + 1

    return View(Query(tags={f"student:{student}"}), 0, after)


def subscribe(store: hansard.Store, course: str, student: str) -> None:
    def decide(command: None, state: Any) -> list[StudentSubscribed]:
        if state.free < 1:
            raise NotPossible("the course is full")
        if state.count >= COURSES_MAX:
            raise NotPossible("the student has enough")
        return [StudentSubscribed(course, student)]

    store.execute(decide, {"free": free_places(course), "count": courses_of(student)}, None)


def main(place: str = ":memory:") -> int:
    with hansard.open(place, types=[CourseDefined, StudentSubscribed]) as store:
        store.append(None, CourseDefined("physics", 2))
        subscribe(store, "physics", "ada")
        subscribe(store, "physics", "max")
        return store.head()


if __name__ == "__main__":
    print(main())
