#!/usr/bin/env python3
"""An API server of Kubernetes, as much of it as varve-manifests asks, over TLS: api.py DIR

DIR/account/{token,ca.crt} are made for those who ask, DIR/port says where; DIR/mode, read at each question, says how it
behaves: ok, forbidden, garbage, large, slow, anonymous; race: before the next write somebody else writes what is in
DIR/other. DIR/asked has a line for
each question. Certificates: DIR/ca.crt, DIR/other-ca.crt; DIR/name is what the server's is for. Secrets of the namespace varve-system can be
read and written: DIR/secrets/NAME."""
import http.server
import itertools
import json
import os
import ssl
import subprocess
import sys
import threading
import time

DIR = sys.argv[1]
SERVER = {"uid": "4d2c", "resourceVersion": "77", "creationTimestamp": "2026-11-21T10:00:00Z", "managedFields": [{}]}


def meta(name, owner=None, **more):
    m = dict(SERVER, name=name, namespace="shop", **more)
    if owner:
        m["ownerReferences"] = [{"apiVersion": owner[0], "kind": owner[1], "name": owner[2], "controller": True, "uid": "1"}]
    return m


def pod(name, claim, owner=None):
    return {"metadata": meta(name, owner), "spec": {"volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": claim}}]}}


OBJECTS = {
    "/api/v1/namespaces/shop/persistentvolumeclaims/data": {
        "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": meta("data", labels={"app": "db"}),
        "spec": {"storageClassName": "varve", "volumeName": "pv-1", "accessModes": ["ReadWriteOnce"]}, "status": {"phase": "Bound"}},
    "/api/v1/persistentvolumes/pv-1": {
        "metadata": meta("pv-1"), "spec": {"claimRef": {"name": "data", "namespace": "shop", "uid": "9", "resourceVersion": "5"}}},
    "/apis/storage.k8s.io/v1/storageclasses/varve": {"metadata": meta("varve"), "provisioner": "csi.varve.io"},
    "/apis/apps/v1/namespaces/shop/replicasets/db-7f": {"metadata": meta("db-7f", ("apps/v1", "Deployment", "db"))},
    "/apis/apps/v1/namespaces/shop/deployments/db": {"metadata": meta("db"), "spec": {"replicas": 2}, "status": {"replicas": 2}},
    "/apis/batch/v1/namespaces/shop/jobs/sum": {"metadata": meta("sum", ("example.org/v1", "Thing", "x"))},
}


def node_pod(name, node, phase="Running", ip=None, ends=False, port=9812):
    m = meta(name, labels={"app.kubernetes.io/name": "varve", "app.kubernetes.io/component": "node"})
    if ends:
        m["deletionTimestamp"] = "2026-11-21T10:00:00Z"
    return {"metadata": m, "spec": {"nodeName": node, "containers": [{"name": "sidecar"}, {"name": "varve-csi", "ports": [{"name": "csi", "containerPort": port}]}]},
            "status": {"phase": phase} | ({"podIP": ip} if ip else {})}


NODES = [node_pod("n-1", "one", ip="10.88.1.7"), node_pod("n-2", "two", ip="fd00::7"), node_pod("n-3", "three", phase="Pending"),
         node_pod("n-4", "four", phase="Failed", ip="10.88.4.1"), node_pod("n-5", "five", ip="10.88.5.1", ends=True), node_pod("n-6", "five", ip="10.88.5.2", port=7),
         node_pod("n-7", "five", ip="10.88.5.3", ends=True), node_pod("n-8", "six", ip="10.88.6.1", ends=True)]
SELECTOR = "labelSelector=app.kubernetes.io%2Fname%3Dvarve%2Capp.kubernetes.io%2Fcomponent%3Dnode"
PODS = [[pod("db-7f-1", "data", ("apps/v1", "ReplicaSet", "db-7f")), pod("db-7f-2", "data", ("apps/v1", "ReplicaSet", "db-7f"))],
        [pod("sum-1", "data", ("batch/v1", "Job", "sum")), pod("alone", "data"), pod("stranger", "other")]]


SECRETS = "/api/v1/namespaces/varve-system/secrets"
LOCK = threading.Lock()
VERSION = itertools.count(1)


def secret_read(name):
    try:
        return json.loads(read("secrets/" + name))
    except OSError:
        return None


def secret_write(name, o):
    o = dict(o, metadata=dict(o["metadata"], name=name, resourceVersion=str(next(VERSION)), managedFields=[{}]))
    path = os.path.join(DIR, "secrets", name)
    with open(path + ".new", "w") as f:
        json.dump(o, f)
    os.rename(path + ".new", path)


def read(name):
    with open(os.path.join(DIR, name)) as f:
        return f.read().strip()


class Api(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def say(self, status, body):
        body = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        self.answer(None)

    def do_POST(self):
        self.answer(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

    do_PUT = do_POST

    def secret(self, name, body, mode):
        if body is None:
            o = secret_read(name)
            return self.say(200 if o else 404, o or {"kind": "Status"})
        if self.headers.get("Content-Type") != "application/json" or body.get("type") != "kubernetes.io/tls":
            return self.say(422, {"kind": "Status", "message": "the type cannot be changed"})
        with LOCK:
            if mode == "race" and os.path.exists(os.path.join(DIR, "other")):
                secret_write(name, json.loads(read("other")))
                os.unlink(os.path.join(DIR, "other"))
            have = secret_read(name)
            if self.command == "PUT" and not have:
                return self.say(404, {"kind": "Status"})
            if have and (self.command == "POST" or body["metadata"].get("resourceVersion") != have["metadata"]["resourceVersion"]):
                return self.say(409, {"kind": "Status", "message": "somebody was first"})
            secret_write(name, body)
        return self.say(201 if self.command == "POST" else 200, body)

    def answer(self, body):
        mode = read("mode")
        path, _, query = self.path.partition("?")
        with open(os.path.join(DIR, "asked"), "a") as f:
            f.write((self.path if body is None else self.command + " " + self.path) + "\n")
        if mode == "slow":
            time.sleep(20)
        if mode == "anonymous" or self.headers.get("Authorization") != "Bearer " + read("account/token"):
            return self.say(401, {"kind": "Status"})
        if mode == "forbidden":
            return self.say(403, {"kind": "Status"})
        if mode == "garbage":
            return self.say(200, b"<html>")
        if mode == "large":
            return self.say(200, b"{" + b" " * (17 << 20) + b"}")
        if path == "/api/v1/namespaces/shop/pods":
            page = 1 if "continue=n.2" in query else 0
            return self.say(200, {"kind": "PodList", "metadata": {} if page else {"continue": "n.2"}, "items": PODS[page]})
        if path == "/api/v1/namespaces/varve-system/pods":
            return self.say(200, {"kind": "PodList", "items": NODES if SELECTOR in query else NODES[:1] if "app%3Dmine" in query else []})
        if path.startswith(SECRETS):
            return self.secret(path[len(SECRETS) + 1:] or body["metadata"]["name"], body, mode)
        o = OBJECTS.get(path)
        return self.say(200 if o else 404, o or {"kind": "Status"})


def openssl(*words):
    subprocess.run(["openssl", *words], cwd=DIR, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def certificates():
    for ca in ("ca", "other-ca"):
        openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", ca + ".key", "-out", ca + ".crt",
                "-days", "2", "-subj", "/CN=" + ca)
    with open(os.path.join(DIR, "ext"), "w") as f:
        f.write("subjectAltName=" + read("name") + "\n")
    openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", "key", "-out", "csr", "-subj", "/CN=api")
    openssl("x509", "-req", "-in", "csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2", "-extfile", "ext", "-out", "crt")


os.makedirs(os.path.join(DIR, "account"), exist_ok=True)
certificates()
with open(os.path.join(DIR, "account", "token"), "w") as f:
    f.write("the-token-of-the-account\n")
with open(os.path.join(DIR, "account", "namespace"), "w") as f:
    f.write("varve-system")
os.makedirs(os.path.join(DIR, "secrets"), exist_ok=True)
os.link(os.path.join(DIR, "ca.crt"), os.path.join(DIR, "account", "ca.crt"))
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Api)
server.daemon_threads = True
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(os.path.join(DIR, "crt"), os.path.join(DIR, "key"))
server.socket = context.wrap_socket(server.socket, server_side=True)
with open(os.path.join(DIR, "port.new"), "w") as f:
    f.write(str(server.server_address[1]))
os.rename(os.path.join(DIR, "port.new"), os.path.join(DIR, "port"))
server.serve_forever()
