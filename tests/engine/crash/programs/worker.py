"""`holdfast worker` as users start it, on the workflow of `jobs`. `engine["options"]`: further words of its line."""

from __future__ import annotations

from holdfast.__main__ import app
from tests.engine.crash.programs.jobs import world

if __name__ == "__main__":
    place = ("--store", world.plan.url, "--app", "tests.engine.crash.programs.jobs:wf")
    app(["worker", *place, *world.plan.engine.get("options", ())])
