"""Counts checks and prints the ones that fail."""

import sys

FAILURES_SHOWN_MAX = 40


class Checks:
    """Collects results; `finish` prints 'N passed, M failed' and gives the exit code."""

    def __init__(self):
        self.passed = 0
        self.failed = 0

    def that(self, holds, what):
        """Counts one check. `what` names it, and may be a function when it is costly to build."""
        if holds:
            self.passed += 1
            return True
        self.failed += 1
        if self.failed <= FAILURES_SHOWN_MAX:
            print(f"FAILED {what() if callable(what) else what}", flush=True)
        elif self.failed == FAILURES_SHOWN_MAX + 1:
            print("… further failures are only counted", flush=True)
        return False

    def equal(self, got, want, what):
        """Counts one comparison."""
        return self.that(got == want, lambda: f"{what}: got {got!r}, expected {want!r}")

    def finish(self):
        print(f"{self.passed} passed, {self.failed} failed", flush=True)
        sys.exit(1 if self.failed or not self.passed else 0)
