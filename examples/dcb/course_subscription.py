"""A course has room for so many students, and a student takes at most five courses: one decision about both."""

from dataclasses import dataclass
from typing import Any

import hansard
from hansard import Query, View


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
    def after(courses: frozenset[str], event: StudentSubscribed) -> frozenset[str]:
        return courses | {event.course}

    return View(Query(tags={f"student:{student}"}), frozenset[str](), after)


def subscribe(store: hansard.Store, course: str, student: str) -> None:
    def decide(command: None, state: Any) -> list[StudentSubscribed]:
        if state.free < 1:
            raise NotPossible(f"course {course} is full")
        if course in state.courses or len(state.courses) >= 5:
            raise NotPossible(f"student {student} takes {', '.join(sorted(state.courses))} already")
        return [StudentSubscribed(course, student)]

    store.execute(decide, {"free": free_places(course), "courses": courses_of(student)}, None, attempts=50)


EVENTS = [CourseDefined, StudentSubscribed]

if __name__ == "__main__":
    with hansard.open(":memory:", types=EVENTS) as store:
        store.append(None, CourseDefined("physics", room=1))
        subscribe(store, "physics", "ada")
        print([event.value for event in store.read()])
