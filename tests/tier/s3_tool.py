#!/usr/bin/env python3
"""s3_tool.py ENDPOINT METHOD /BUCKET[/KEY][?QUERY] [BODY]: one signed request, the keys from the environment; prints the answer's body,
exits 1 where its status is not 2xx. s3_tool.py ENDPOINT fetch BUCKET PREFIX DIR: all objects below PREFIX as files."""

import datetime, hashlib, hmac, os, re, ssl, sys, urllib.parse, urllib.request  # noqa: E401
import xml.etree.ElementTree as ET


def call(endpoint, method, path, query="", body=b""):
    key, secret = os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"]
    region = os.environ.get("AWS_REGION", "us-east-1")
    now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y%m%dT%H%M%SZ")
    digest = hashlib.sha256(body).hexdigest()
    pairs = sorted(urllib.parse.parse_qsl(query, keep_blank_values=True))
    query = urllib.parse.urlencode(pairs, quote_via=urllib.parse.quote, safe="-_.~")
    path = urllib.parse.quote(path, safe="/-_.~")
    h = {"host": endpoint.split("//")[1], "x-amz-content-sha256": digest, "x-amz-date": now}
    if "S3_HEADER" in os.environ:
        name, _, value = os.environ["S3_HEADER"].partition(": ")
        h[name] = value
    names = sorted(h)
    canonical = "\n".join([method, path, query, *(f"{n}:{h[n]}" for n in names), "", ";".join(names), digest])
    scope = f"{now[:8]}/{region}/s3/aws4_request"
    text = "\n".join(["AWS4-HMAC-SHA256", now, scope, hashlib.sha256(canonical.encode()).hexdigest()])
    k = b"AWS4" + secret.encode()
    for part in scope.split("/"):
        k = hmac.new(k, part.encode(), hashlib.sha256).digest()
    sig = hmac.new(k, text.encode(), hashlib.sha256).hexdigest()
    h["authorization"] = f"AWS4-HMAC-SHA256 Credential={key}/{scope}, SignedHeaders={';'.join(names)}, Signature={sig}"
    r = urllib.request.Request(f"{endpoint}{path}{'?' + query if query else ''}", data=body if method in ("PUT", "POST") else None,
                               headers=h, method=method)
    context = ssl.create_default_context(cafile=os.environ["S3_CA"]) if "S3_CA" in os.environ else None
    with urllib.request.urlopen(r, timeout=30, context=context) as a:
        return a.read()


def fetch(endpoint, bucket, prefix, out):
    after = ""
    while True:
        query = urllib.parse.urlencode({"list-type": "2", "prefix": prefix, "start-after": after})
        root = ET.fromstring(re.sub(rb' xmlns="[^"]*"', b"", call(endpoint, "GET", f"/{bucket}", query)))
        keys = [e.text for e in root.findall("Contents/Key")]
        for after in keys:
            name = f"{out}/{after[len(prefix):]}"
            os.makedirs(os.path.dirname(name), exist_ok=True)
            with open(name, "wb") as f:
                f.write(call(endpoint, "GET", f"/{bucket}/{after}"))
        if root.findtext("IsTruncated") != "true":
            return


if sys.argv[2] == "fetch":
    fetch(sys.argv[1], *sys.argv[3:6])
else:
    path, _, query = sys.argv[3].partition("?")
    try:
        sys.stdout.buffer.write(call(sys.argv[1], sys.argv[2], path, query, sys.argv[4].encode() if len(sys.argv) > 4 else b""))
    except urllib.error.HTTPError as e:
        sys.exit(f"{e.code} {e.read().decode(errors='replace')}")
