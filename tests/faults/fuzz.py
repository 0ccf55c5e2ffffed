"""Coverage-guided fuzzing: `tox -e fuzz -- 600 jsonl csv` gives each target 600 CPU seconds.

Without arguments all targets run for 60 seconds. A line for each target says how many inputs it
read. When a target raises, the exit code is 1 and the input is kept in `out/fuzz/`. Put it into the
target's corpus, which every run of the tests reads.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

INSTRUMENTED = ["elspeth", "harness", "rfc8785", "yaml"]
DEFAULT_SECONDS = 60
FOUND = Path("out", "fuzz")
LARGEST_INPUT_BYTES = 16_384


def main(arguments: list[str]) -> int:
    """Fuzz the named targets, or all of them, one after the other. Return 1 if any raised."""
    from fuzz_targets import TARGETS

    seconds = DEFAULT_SECONDS
    if arguments and arguments[0].isdigit():
        seconds, *arguments = int(arguments[0]), *arguments[1:]
    unknown = [name for name in arguments if name not in TARGETS]
    if unknown:
        print(f"no such target: {', '.join(unknown)}; known: {', '.join(TARGETS)}")  # noqa: T201 - the usage
        return 2
    ended = [_in_new_process(name, seconds) for name in arguments or TARGETS]
    return int(any(ended))


def _in_new_process(name: str, seconds: int) -> int:
    """Run one target in a new process, because libFuzzer ends the process that it runs in."""
    FOUND.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="fuzz-corpus-") as grown:
        ended = subprocess.run(
            [
                *(sys.executable, __file__, "--in-process", name, str(seconds)),
                # libFuzzer adds inputs that reach new code to the first directory, not the corpus.
                *(grown, str(Path(__file__).with_name("corpus") / name)),
                *(f"-artifact_prefix={FOUND / name}-", f"-max_len={LARGEST_INPUT_BYTES}"),
                *("-timeout=60", "-verbosity=0", "-print_final_stats=0"),
            ],
            check=False,
        )
    if ended.returncode:
        print(f"{name}: raised; the input is in {FOUND}/{name}-*", flush=True)  # noqa: T201 - the report
    return ended.returncode


def _fuzz(name: str, seconds: int, libfuzzer_arguments: list[str]) -> None:
    import atheris

    # atheris traces only modules that are imported for the first time in this block.
    with atheris.instrument_imports(include=INSTRUMENTED):
        from fuzz_targets import TARGETS
    run, count, started = TARGETS[name].run, 0, time.process_time()

    def read(content: bytes) -> None:
        nonlocal count
        run(content)
        count += 1
        spent = time.process_time() - started
        if spent >= seconds:
            said = f"{name}: {count:,} inputs in {spent:.0f} CPU seconds, none raised"
            print(said, flush=True)  # noqa: T201 - the report
            # libFuzzer cannot be stopped by a call, reports SystemExit as a crash, and has only
            # wall-clock limits.
            os._exit(0)

    atheris.Setup([sys.argv[0], *libfuzzer_arguments], read)
    atheris.Fuzz()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--in-process"]:
        _fuzz(sys.argv[2], int(sys.argv[3]), sys.argv[4:])
    sys.exit(main(sys.argv[1:]))
