#!/usr/bin/env python3
"""proto_names.py OURS PUBLISHED: the names and numbers of two .proto files are the same: messages, fields with their types, enums, methods.
Each difference is a line; the last line sums up. Types of google.protobuf may be written in two ways."""

import re
import sys


def tokens(path):
    text = re.sub(r"//[^\n]*|/\*.*?\*/", "", open(path).read(), flags=re.S)
    text = re.sub(r"\[[^\]]*\]", "", text)  # options of fields
    return re.findall(r'"[^"]*"|[A-Za-z_][\w.]*|\d+|\.[A-Za-z_][\w.]*|[{}()<>=;,]', text)


def names(path):
    """Lines such as `csi.v1.Volume.volume_id: string = 2`."""
    found, scope, statement = set(), [], []
    for t in tokens(path):
        if t == "{":
            kind = statement[0] if statement else ""
            if kind == "rpc":
                found.add(".".join(scope) + " " + " ".join(statement).replace(" .", " "))
            scope.append("" if kind in ("rpc", "oneof", "") else "(extend)" if kind == "extend" else statement[1])
            statement = []
        elif t == "}":
            scope.pop()
            statement = []
        elif t == ";":
            where = ".".join(s for s in scope if s)
            words = " ".join(w.lstrip(".") for w in statement)
            if "(extend)" in scope or not words:
                pass
            elif statement[0] == "rpc":
                found.add(where + " " + words)
            elif re.search(r"= \d+$", words) and statement[0] not in ("option", "syntax"):
                found.add(where + ": " + words)
            statement = []
        else:
            statement.append(t)
    return {re.sub(r"\s+", " ", n) for n in found}


def main():
    ours, published = names(sys.argv[1]), names(sys.argv[2])
    for n in sorted(published - ours):
        print(f"is missing: {n}")
    for n in sorted(ours - published):
        print(f"is too much: {n}")
    wrong = len(ours ^ published)
    print(f"{len(ours & published)} names and numbers are the same, {wrong} are not")
    return 1 if wrong or len(ours) < 300 else 0


if __name__ == "__main__":
    sys.exit(main())
