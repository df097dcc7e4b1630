#!/usr/bin/env python3
"""s3_proxy.py UPSTREAM_PORT FAULT_FILE: stands between a client and an S3 server and does harm. It prints its port. FAULT_FILE says
`NUMBER KIND METHOD COUNT`: the next COUNT requests of METHOD (or ANY) are treated so; a new number counts anew. FAULT_FILE.log gets a
line for each request. It ends with its standard input."""

import os, socket, sys, threading, time  # noqa: E401
from email.utils import formatdate

upstream, fault_file = int(sys.argv[1]), sys.argv[2]
lock = threading.Lock()
seen = {"number": None, "left": 0}
STALL = 8

ANSWERS = {  # kind: status line, code
    "slow-down": ("503 Slow Down", "SlowDown"), "error-not": ("500 Internal Server Error", "InternalError"),
    "error-done": ("500 Internal Server Error", "InternalError"), "denied": ("403 Forbidden", "AccessDenied"),
    "expired": ("400 Bad Request", "ExpiredToken"), "full": ("507 Insufficient Storage", "QuotaExceeded"),
    "skewed": ("403 Forbidden", "RequestTimeTooSkewed"), "refuse-condition": ("501 Not Implemented", "NotImplemented"),
    "busy": ("409 Conflict", "ConditionalRequestConflict"), "region": ("400 Bad Request", "AuthorizationHeaderMalformed"),
    "class": ("400 Bad Request", "InvalidStorageClass"),
}


def fault_of(method):
    with lock:
        try:
            number, kind, want, count = open(fault_file).read().split()
        except (OSError, ValueError):
            return ""
        if seen["number"] != number:
            seen.update(number=number, left=int(count))
        if want not in (method, "ANY") or seen["left"] == 0:
            return ""
        seen["left"] -= 1
        return kind


def read_head(sock, rest):
    while b"\r\n\r\n" not in rest:
        more = sock.recv(65536)
        if not more:
            return None, b""
        rest += more
    head, rest = rest.split(b"\r\n\r\n", 1)
    return head.split(b"\r\n"), rest


def header(head, name):
    for line in head[1:]:
        k, _, v = line.partition(b":")
        if k.strip().lower() == name:
            return v.strip()
    return b""


def without(head, name):
    return [line for line in head if line.split(b":")[0].lower() != name]


def read_body(sock, rest, n):
    while len(rest) < n:
        more = sock.recv(1 << 20)
        if not more:
            break
        rest += more
    return rest[:n], rest[n:]


def ask(head, body):
    """The server's whole answer: head, body."""
    with socket.create_connection(("127.0.0.1", upstream)) as s:
        s.sendall(b"\r\n".join(without(head, b"connection") + [b"Connection: close", b"", b""]) + body)
        whole = b""
        while True:
            more = s.recv(1 << 20)
            if not more:
                break
            whole += more
    first, _, rest = whole.partition(b"\r\n\r\n")
    return first.split(b"\r\n"), rest


def own(kind, method):
    status, code = ANSWERS[kind]
    date = formatdate(time.time() - (17 * 60 if kind == "skewed" else 0), usegmt=True)
    more = "<Region>eu-west-7</Region>" if kind == "region" else ""
    body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>by the proxy</Message>{more}</Error>"
    return f"HTTP/1.1 {status}\r\nDate: {date}\r\nContent-Type: application/xml\r\nContent-Length: {len(body)}\r\n\r\n".encode() \
        + (b"" if method == b"HEAD" else body.encode())


def half(head, body, client):
    client.sendall(b"\r\n".join(head + [b"", b""]) + body[:len(body) // 2])


def one(client, head, body, kind):
    """False: the connection is done with."""
    method = head[0].split()[0]
    if kind == "refuse":
        return False
    if kind == "stall":
        time.sleep(STALL)
        return False
    if kind == "cut-request":
        with socket.create_connection(("127.0.0.1", upstream)) as s:
            s.sendall(b"\r\n".join(head + [b"", b""]) + body[:len(body) // 2])
        return False
    if kind == "garbage":
        client.sendall(b"what is this\r\nthat you speak?\r\n\r\n")
        return False
    if kind == "html":
        client.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 26\r\n\r\n"
                       + (b"" if method == b"HEAD" else b"<html>please log in</html>"))
        return True
    if kind in ANSWERS and kind != "error-done" and (kind != "refuse-condition" or header(head, b"if-none-match")):
        client.sendall(own(kind, method))
        return True
    if kind == "ignore-condition":
        head = without(head, b"if-none-match")
    if kind == "corrupt-request" and body:
        body = body[:len(body) // 2] + bytes([body[len(body) // 2] ^ 1]) + body[len(body) // 2 + 1:]
    head, body = ask(head, body)
    if kind == "lose-answer":
        return False
    if kind == "stall-done":
        time.sleep(STALL)
        return False
    if kind == "error-done":
        client.sendall(own(kind, method))
        return True
    if kind in ("cut-body", "stall-body"):
        half(head, body, client)
        if kind == "stall-body":
            time.sleep(STALL)
        return False
    if kind == "short-body":
        body = body[:len(body) // 2]
        head = without(head, b"content-length") + [b"Content-Length: %d" % len(body)]
    if kind == "corrupt-answer" and body:
        body = body[:len(body) // 2] + bytes([body[len(body) // 2] ^ 1]) + body[len(body) // 2 + 1:]
    if kind in ("no-etag", "wrong-etag"):
        head = without(head, b"etag") + ([b'ETag: "00000000000000000000000000000000"'] if kind == "wrong-etag" else [])
    client.sendall(b"\r\n".join(without(head, b"connection") + [b"", b""]) + body)
    return True


def serve(client):
    rest = b""
    with client:
        try:
            while True:
                head, rest = read_head(client, rest)
                if not head:
                    return
                body, rest = read_body(client, rest, int(header(head, b"content-length") or 0))
                method = head[0].split()[0].decode()
                kind = fault_of(method)
                with open(fault_file + ".log", "a") as log:
                    print(method, head[0].split()[1].decode(), kind or "-", header(head, b"x-amz-storage-class").decode(), file=log)
                if not one(client, head, body, kind):
                    return
        except OSError:
            return


def listen():
    s = socket.create_server(("127.0.0.1", 0), backlog=64)
    print(s.getsockname()[1], flush=True)
    while True:
        threading.Thread(target=serve, args=(s.accept()[0],), daemon=True).start()


threading.Thread(target=listen, daemon=True).start()
sys.stdin.read()
os._exit(0)
