#!/usr/bin/env python3
"""tidy: the rules of the tree that a compiler does not know. Each check prints `file:line: what`; the last line sums up.

  rooms      a file includes headers of its own room and of rooms below it
  length     no function is longer than 70 lines
  banned     calls that the tree does without (strcpy, atoi, ...)
  words      nothing unfinished is announced in the sources
  assert     an assert has no side effects
  invariant  each invariant number used in the code stands in docs/invariants.md
  controls   a test that tests/controls.tsv names is there
  headers    each header compiles alone, with gcc and with clang
  clang      each source compiles under clang without a warning (gcc: `make check` builds with WERROR=1)
  format     clang-format 14 agrees (the system's, or the pinned PyPI package in $VARVE_CACHE)
"""

import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

# from the floor up; a room may include what stands before it
ROOMS = ["base", "conf", "snap/store", "snap", "tier", "fs"]
PLUGIN_MAY = ["base", "plugin"]
LENGTH_MAX = 70
BANNED = """strcpy strncpy strcat strncat stpcpy sprintf vsprintf strtok atoi atol atoll atof gmtime localtime ctime asctime
    rand srand gets alloca tmpnam tempnam mktemp""".split()
UNFINISHED = re.compile(r"\b(?:TODO|FIXME|XXX|HACK)\b|\b[Ff]or now\b")
FORMAT_MAJOR = 14
FORMAT_PYPI = "clang-format==14.0.6"
FLAGS = ["-std=gnu17", "-I.", "-isystem", "build/gen", "-D_GNU_SOURCE", "-D_FILE_OFFSET_BITS=64", "-DVARVE_VERSION=\"0\"", "-pthread", "-fsyntax-only"] + [
    "-W" + w for w in "all extra error shadow strict-prototypes missing-prototypes pointer-arith vla write-strings format=2 implicit-fallthrough".split()]

problems = []
skipped = []


def problem(path, line, what):
    problems.append(f"{path}:{line}: {what}")


def tree_files():
    out = subprocess.run(["git", "ls-files", "-co", "--exclude-standard", "*.c", "*.h", "*.def"], capture_output=True, text=True)
    names = out.stdout.split() if out.returncode == 0 else [
        str(p) for p in Path(".").rglob("*") if p.suffix in (".c", ".h", ".def") and not str(p).startswith("build")]
    return [n for n in names if os.path.isfile(n)]


def blank(match):
    return re.sub(r"[^\n]", " ", match.group(0))


TOKENS = re.compile(r"""/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'""", re.S)


def code_only(text):
    """The text with comments and literals blanked; positions and lines stay."""
    return TOKENS.sub(blank, text)


def line_of(text, pos):
    return text.count("\n", 0, pos) + 1


def room_of(path):
    parent = os.path.dirname(path)
    return parent if parent in ROOMS or parent == "plugin" else None


def check_rooms(path, text):
    room = room_of(path)
    if room is None:
        return
    allowed = PLUGIN_MAY if room == "plugin" else ROOMS[: ROOMS.index(room) + 1]
    for m in re.finditer(r'^[ \t]*#[ \t]*include[ \t]+"([^"]+)"', text, re.M):
        target = os.path.dirname(m.group(1))
        if target not in allowed:
            problem(path, line_of(text, m.start()), f"{room}/ may not include {m.group(1)}")


def check_own_header_first(path, text):
    header = path[:-2] + ".h"
    if not path.endswith(".c") or room_of(path) is None or not os.path.isfile(header):
        return
    first = re.search(r'^[ \t]*#[ \t]*include[ \t]+[<"]([^">]+)[">]', text, re.M)
    if first and first.group(1) != header:
        problem(path, line_of(text, first.start()), f"its own header {header} comes first")


def check_length(path, code):
    """A function's body opens and closes in the first column; its head is the lines above that are not blank."""
    lines = code.split("\n")
    opened = None
    for i, line in enumerate(lines):
        if line.startswith("{"):
            opened = i
            while opened > 0 and lines[opened - 1].strip() and not lines[opened - 1].startswith(("}", "#")):
                opened -= 1
        elif line.startswith("}") and opened is not None:
            if i - opened + 1 > LENGTH_MAX:
                problem(path, opened + 1, f"a function of {i - opened + 1} lines (at most {LENGTH_MAX})")
            opened = None


BANNED_RE = re.compile(r"(?<![\w.>])(" + "|".join(BANNED) + r")\s*\(")


def check_banned(path, code):
    for m in BANNED_RE.finditer(code):
        problem(path, line_of(code, m.start()), f"{m.group(1)}() is banned")


def check_words(path, text):
    for m in UNFINISHED.finditer(text):
        problem(path, line_of(text, m.start()), f"announces something unfinished: {m.group(0)}")


SIDE_EFFECT = re.compile(r"\+\+|--|(?<![=!<>])=(?!=)|\b(?:malloc|free|read|write|close|lock_take|lock_drop)\s*\(")


def check_asserts(path, code):
    for m in re.finditer(r"(?<!\w)assert\s*\(", code):
        depth, end = 1, m.end()
        while depth and end < len(code):
            depth += {"(": 1, ")": -1}.get(code[end], 0)
            end += 1
        if SIDE_EFFECT.search(code[m.end(): end - 1]):
            problem(path, line_of(code, m.start()), "this assert has a side effect")


def check_invariants(sources):
    page = Path("docs/invariants.md")
    known = set(re.findall(r"\bI-\d+\b", page.read_text())) if page.exists() else set()
    for path, text in sources.items():
        for m in re.finditer(r"\bI-\d\d+\b", text):
            if m.group(0) not in known:
                problem(path, line_of(text, m.start()), f"{m.group(0)} is not in docs/invariants.md")


def check_controls(sources):
    text = "\n".join(list(sources.values()) + [p.read_text(errors="replace") for p in Path("tests").rglob("*.sh")])
    there = set(re.findall(r"\btest_\w+", text))
    for n, line in enumerate(Path("tests/controls.tsv").read_text().splitlines(), 1):
        for name in re.findall(r"\btest_\w+", line):
            begins = "__" not in name and any(t.startswith(name) for t in there)  # suites of shell take a beginning
            if name not in there and not begins:
                problem("tests/controls.tsv", n, f"{name} is no test")


def fuse_flags():
    for config in ["build/config.mk"]:
        if os.path.isfile(config):
            m = re.search(r"^FUSE_CFLAGS := (.*)$", Path(config).read_text(), re.M)
            return m.group(1).split() if m else []
    return []


def compile_one(job):
    cc, path = job
    extra = fuse_flags() if path.startswith(("fs/", "tests/unit/fs_", "tests/fuzz/", "tests/sweep/")) else []
    if cc == "clang":
        extra += ["-Wthread-safety"]
    if path.endswith(".h"):
        extra += ["-x", "c", "-Wno-unused-function", "-include", "/dev/null"]
        source = f'#include "{path}"\n#include "{path}"\ntypedef int tidy_not_empty;\n'
        run = subprocess.run([cc, *FLAGS, *extra, "-"], input=source, capture_output=True, text=True)
    else:
        run = subprocess.run([cc, *FLAGS, *extra, path], capture_output=True, text=True)
    if run.returncode == 0:
        return None
    first = next((l for l in run.stderr.splitlines() if "error" in l), run.stderr.strip().split("\n")[0])
    return f"{path}: {cc}: {first}"


def check_compile(files):
    jobs = [("gcc", f) for f in files if f.endswith(".h")]
    if shutil.which("clang"):
        jobs += [("clang", f) for f in files if f.endswith((".h", ".c"))]
    else:
        skipped.append("clang: not installed")
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        problems.extend(r for r in pool.map(compile_one, jobs) if r)


def formatter():
    """clang-format of the one major version whose text is the rule."""
    def major(prog):
        try:
            out = subprocess.run([prog, "--version"], capture_output=True, text=True).stdout
        except OSError:
            return None
        m = re.search(r"version (\d+)\.", out)
        return int(m.group(1)) if m else None

    cached = os.path.join(os.environ.get("VARVE_CACHE", "/var/cache/varve"), "py", "bin", "clang-format")
    candidates = [f"clang-format-{FORMAT_MAJOR}", "clang-format", cached]
    for prog in candidates:
        if major(prog) == FORMAT_MAJOR:
            return prog
    venv = os.path.dirname(os.path.dirname(cached))
    made = subprocess.run([sys.executable, "-m", "venv", venv], capture_output=True)
    if made.returncode == 0:
        subprocess.run([f"{venv}/bin/pip", "install", "-q", FORMAT_PYPI], capture_output=True)
    return cached if major(cached) == FORMAT_MAJOR else None


def check_format(files, fix):
    prog = formatter()
    if prog is None:
        skipped.append(f"format: no clang-format {FORMAT_MAJOR} here")
        return
    files = [f for f in files if not f.endswith(".def")]
    if not files:
        return
    mode = ["-i"] if fix else ["--dry-run"]
    run = subprocess.run([prog, "--style=file", *mode, *files], capture_output=True, text=True)
    seen = set()
    for m in re.finditer(r"^(\S+?):(\d+):\d+: (?:warning|error): (.*?) \[", run.stderr, re.M):
        if m.group(1) not in seen:  # one line a file: `make format` mends them all
            seen.add(m.group(1))
            problem(m.group(1), m.group(2), "not as clang-format wants it (make format)")


def main():
    os.chdir(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))
    files = sorted(tree_files())
    if sys.argv[1:] == ["--format"]:
        check_format(files, True)
        return 0
    sources = {f: Path(f).read_text(errors="replace") for f in files}
    for path, text in sources.items():
        code = code_only(text)
        check_rooms(path, text)
        check_own_header_first(path, text)
        check_length(path, code)
        check_banned(path, code)
        check_words(path, text)
        check_asserts(path, code)
    check_invariants(sources)
    check_controls(sources)
    check_compile(files)
    check_format(files, False)
    for line in problems:
        print(line)
    for why in skipped:
        print(f"skip {why}")
    bad = {p.split(":")[0] for p in problems}
    print(f"{len(files) - len(bad)} passed, {len(bad)} failed, {len(skipped)} skipped")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
