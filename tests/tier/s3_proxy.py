#!/usr/bin/env python3
"""s3_proxy.py UPSTREAM_PORT FAULT_FILE: stands between a client and an S3 server and does harm. It prints its port. FAULT_FILE says
`NUMBER KIND METHOD COUNT`: the next COUNT requests of METHOD (or ANY) are treated so; a new number counts anew. FAULT_FILE.log gets a
line for each request. It ends with its standard input.

Where FAULT_FILE.classes is there, it plays a server that has storage classes (versitygw has one): an object copied onto itself with
another class has that from then on, HEAD and lists say so, and what is in GLACIER or DEEP_ARCHIVE answers 403 InvalidObjectState until
it was asked for and as many seconds have gone as the file says."""

import os, re, socket, sys, threading, time  # noqa: E401
from email.utils import formatdate

upstream, fault_file = int(sys.argv[1]), sys.argv[2]
lock = threading.Lock()
seen = {"number": None, "left": 0}
STALL, LATE = 8, 0.25

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
    if kind == "late":
        time.sleep(LATE)
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
    request, plays = head, seconds() is not None
    mine = own_class(head) if plays else None
    if mine:
        client.sendall(mine)
        return True
    head, body = ask(head, body)
    if plays:
        head, body = answer_with_class(request, head, body)
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


# --- storage classes ------------------------------------------------------------------------------------------------------

ARCHIVES = ("GLACIER", "DEEP_ARCHIVE")
classes, asked, etags = {}, {}, {}  # by path: the class, when it was asked for, what it was put with


def seconds():
    try:
        return float(open(fault_file + ".classes").read())
    except (OSError, ValueError):
        return None


def state(path):
    """None: readable as ever; False: archived; True: on its way; a time: it is out."""
    if classes.get(path) not in ARCHIVES:
        return None
    if path not in asked:
        return False
    return asked[path] + seconds() if time.time() >= asked[path] + seconds() else True


def refusal(status, code):
    body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>by the proxy</Message></Error>"
    return say(status, body)


def say(status, body, type="application/xml"):
    date = formatdate(time.time(), usegmt=True)
    return f"HTTP/1.1 {status}\r\nDate: {date}\r\nContent-Type: {type}\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()


def copied(path, head):
    if state(path) in (False, True):
        return refusal("403 Forbidden", "InvalidObjectState")
    if path not in etags:
        return refusal("404 Not Found", "NoSuchKey")
    if header(head, b"x-amz-copy-source-if-match") != etags[path]:
        return refusal("412 Precondition Failed", "PreconditionFailed")
    classes[path] = header(head, b"x-amz-storage-class").decode()
    asked.pop(path, None)
    with open(fault_file + ".log", "a") as log:
        print("COPIED", path, header(head, b"x-amz-object-lock-mode").decode() or "-", file=log)
    return say("200 OK", f"<CopyObjectResult><ETag>{etags[path].decode()}</ETag></CopyObjectResult>")


def own_class(head):
    """The answer that a server with classes gives by itself, or None."""
    method, target = head[0].split()[:2]
    path, _, query = target.decode().partition("?")
    with lock:
        if method == b"PUT" and header(head, b"x-amz-copy-source").decode() == path:
            return copied(path, head)
        if method == b"POST" and query.startswith("restore"):
            now = state(path)
            asked.setdefault(path, time.time())
            return say("202 Accepted", "") if now is False else say("200 OK", "") if now is not True else \
                refusal("409 Conflict", "RestoreAlreadyInProgress")
        if method == b"GET" and not query and state(path) in (False, True):
            return refusal("403 Forbidden", "InvalidObjectState")
    return None


def answer_with_class(request, head, body):
    """What HEAD and lists say besides."""
    method, target = request[0].split()[:2]
    path, _, query = target.decode().partition("?")
    if method in (b"PUT", b"HEAD") and header(head, b"etag"):
        etags[path] = header(head, b"etag")
    if method == b"PUT" and header(request, b"x-amz-storage-class"):
        classes.setdefault(path, header(request, b"x-amz-storage-class").decode())
    if method == b"DELETE":
        for d in (classes, asked, etags):
            d.pop(path, None)
    if method == b"HEAD" and path in classes:
        head = without(head, b"x-amz-storage-class") + [b"x-amz-storage-class: " + classes[path].encode()]
        now = state(path)
        if now is True:
            head.append(b'x-amz-restore: ongoing-request="true"')
        elif now:
            head.append(b'x-amz-restore: ongoing-request="false", expiry-date="Fri, 21 Dec 2035 00:00:00 GMT"')
    if method == b"GET" and "list-type=2" in query:
        bucket = "/" + path.strip("/") + "/"
        body = re.sub(rb"<Contents>.*?</Contents>", lambda m: contents(bucket, m.group(0)), body, flags=re.S)
        head = without(head, b"content-length") + [b"Content-Length: %d" % len(body)]
    return head, body


def contents(bucket, text):
    key = re.search(rb"<Key>(.*?)</Key>", text).group(1).decode().replace("%2F", "/")
    cls = classes.get(bucket + key, "STANDARD").encode()
    return re.sub(rb"<StorageClass>.*?</StorageClass>", b"", text).replace(b"</Contents>", b"<StorageClass>" + cls + b"</StorageClass></Contents>")


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
