#!/usr/bin/env python3
"""An API server of Kubernetes, as much of it as varve-manifests asks, over TLS: api.py DIR

DIR/account/{token,ca.crt} are made for those who ask, DIR/port says where; DIR/mode, read at each question, says how it
behaves: ok, forbidden, garbage, large, slow, anonymous. DIR/asked has a line for each question. Certificates: DIR/ca.crt,
DIR/other-ca.crt; DIR/name is what the server's is for."""
import http.server
import json
import os
import ssl
import subprocess
import sys
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
PODS = [[pod("db-7f-1", "data", ("apps/v1", "ReplicaSet", "db-7f")), pod("db-7f-2", "data", ("apps/v1", "ReplicaSet", "db-7f"))],
        [pod("sum-1", "data", ("batch/v1", "Job", "sum")), pod("alone", "data"), pod("stranger", "other")]]


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
        mode = read("mode")
        path, _, query = self.path.partition("?")
        with open(os.path.join(DIR, "asked"), "a") as f:
            f.write(self.path + "\n")
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
