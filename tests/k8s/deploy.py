#!/usr/bin/env python3
"""What is shipped for Kubernetes, without a cluster: the manifest, the chart, the examples, the page. `deploy.py BUILD [NAME...]`."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import yaml

TREE = Path(__file__).resolve().parents[2]
DEPLOY = TREE / "plugin/deploy"
BUILD = Path(sys.argv[1]).resolve()
CACHE = Path(os.environ.get("VARVE_CACHE", "/var/cache/varve"))
DNS = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")
NAMESPACE = "varve-system"
CLUSTER_WIDE = {"Namespace", "ClusterRole", "ClusterRoleBinding", "CSIDriver", "StorageClass", "VolumeAttributesClass", "VolumeSnapshotClass",
                "VolumeGroupSnapshotClass", "PersistentVolume", "VolumeSnapshotContent"}
READ = {"get", "list", "watch"}
# whoever may write what: nothing else, and nobody reads secrets but the two that are made here
WRITES = {
    ("varve-node", "persistentvolumes"): {"create", "patch", "delete"},
    ("varve-node", "persistentvolumeclaims"): {"update"},
    ("varve-node", "events"): {"create", "update", "patch"},
    ("varve-node", "volumesnapshots"): {"update"},
    ("varve-controller", "persistentvolumes"): {"patch"},
    ("varve-controller", "persistentvolumeclaims/status"): {"patch"},
    ("varve-controller", "events"): {"create", "update", "patch"},
    ("varve-controller", "volumesnapshotcontents"): {"update", "patch"},
    ("varve-controller", "volumesnapshotcontents/status"): {"update", "patch"},
    ("varve-controller", "volumegroupsnapshotcontents"): {"update", "patch"},
    ("varve-controller", "volumegroupsnapshotcontents/status"): {"update", "patch"},
    ("varve-node", "csistoragecapacities"): {"create", "update", "patch", "delete"},
    ("varve-snapshot-controller", "persistentvolumeclaims"): {"update"},
    ("varve-snapshot-controller", "events"): {"create", "update", "patch"},
    ("varve-snapshot-controller", "volumesnapshots"): {"create", "update", "patch", "delete"},
    ("varve-snapshot-controller", "volumesnapshots/status"): {"update", "patch"},
    ("varve-snapshot-controller", "volumesnapshotcontents"): {"create", "update", "patch", "delete"},
    ("varve-snapshot-controller", "volumesnapshotcontents/status"): {"patch"},
    ("varve-snapshot-controller", "volumegroupsnapshots"): {"update", "patch"},
    ("varve-snapshot-controller", "volumegroupsnapshots/status"): {"update", "patch"},
    ("varve-snapshot-controller", "volumegroupsnapshotcontents"): {"create", "update", "patch", "delete"},
    ("varve-snapshot-controller", "volumegroupsnapshotcontents/status"): {"patch"},
    ("varve-snapshot-controller", "leases"): {"create", "update"},
}
SECRETS = [{"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["varve-controller-tls", "varve-node-tls"], "verbs": ["get", "update"]},
           {"apiGroups": [""], "resources": ["secrets"], "verbs": ["create"]}]
problems = []


def check(ok, what):
    if not ok:
        problems.append(what)


class Strict(yaml.SafeLoader):
    """A key that is there twice is a mistake."""

    def construct_mapping(self, node, deep=False):
        keys = [k.value for k, _ in node.value]
        for k in {k for k in keys if keys.count(k) > 1}:
            raise yaml.YAMLError(f"{node.start_mark}: {k} is there twice")
        return super().construct_mapping(node, deep)


def load(text):
    return [d for d in yaml.load_all(text, Strict) if d is not None]


def manifest():
    return load((DEPLOY / "varve.yaml").read_text())


def examples():
    return {p.name: load(p.read_text()) for p in sorted((DEPLOY / "examples").glob("*.yaml"))}


def called(d):
    return f"{d['kind']} {d['metadata']['name']}"


def by_kind(docs, kind):
    return {d["metadata"]["name"]: d for d in docs if d["kind"] == kind}


def pod_specs(docs):
    for d in docs:
        spec = d.get("spec", {})
        if d["kind"] == "Pod":
            yield d, spec
        elif "template" in spec:
            yield d, spec["template"]["spec"]


def spec_of(docs, name):
    return next(s for d, s in pod_specs(docs) if called(d) == name)


def node_spec(docs):
    return spec_of(docs, "DaemonSet varve-node")


def containers(spec):
    return spec.get("initContainers", []) + spec["containers"]


def test_whole_and_named():
    seen = set()
    for where, docs in [("varve.yaml", manifest()), *examples().items()]:
        check(docs, f"{where}: is empty")
        for d in docs:
            check({"apiVersion", "kind", "metadata"} <= d.keys(), f"{where}: {list(d)}")
            check(DNS.fullmatch(d["metadata"]["name"]), f"{where}: {called(d)}")
            if where == "varve.yaml":
                check((d["kind"], d["metadata"]["name"]) not in seen, f"{called(d)}: twice")
                seen.add((d["kind"], d["metadata"]["name"]))
                check((d["kind"] in CLUSTER_WIDE) != (d["metadata"].get("namespace") == NAMESPACE), f"{called(d)}: namespace")
                check(d["kind"] == "Namespace" or d["metadata"]["labels"]["app.kubernetes.io/name"] == "varve", f"{called(d)}: labels")
            else:
                check(where == "secret.yaml" or d["metadata"].get("namespace", "default") == "default", f"{where}: {called(d)} names a namespace")
    for p in (DEPLOY / "chart").rglob("*.yaml"):
        if "templates" not in p.parts:
            load(p.read_text())


def test_pods_are_theirs():
    docs = manifest()
    for d, spec in pod_specs(docs):
        want = d["spec"]["selector"]["matchLabels"]
        check(want.items() <= d["spec"]["template"]["metadata"]["labels"].items(), f"{called(d)}: selects other pods")
        check(spec["serviceAccountName"] in by_kind(docs, "ServiceAccount"), f"{called(d)}: {spec['serviceAccountName']}")
        volumes = {v["name"] for v in spec.get("volumes", [])}
        for c in containers(spec):
            mounts = {m["name"] for m in c.get("volumeMounts", [])}
            check(mounts <= volumes, f"{called(d)}: {c['name']} mounts {mounts - volumes}")
            check("requests" in c["resources"], f"{called(d)}: {c['name']} asks for no resources")


def test_rights():
    docs = manifest()
    for kind in ("ClusterRoleBinding", "RoleBinding"):
        for d in by_kind(docs, kind).values():
            check(d["roleRef"]["name"] in by_kind(docs, d["roleRef"]["kind"]), f"{called(d)}: {d['roleRef']['name']}")
            for s in d["subjects"]:
                check(s["kind"] == "ServiceAccount" and s["name"] in by_kind(docs, "ServiceAccount") and s["namespace"] == NAMESPACE, f"{called(d)}: {s}")
    unused = dict(WRITES)
    for kind in ("ClusterRole", "Role"):
        for d in by_kind(docs, kind).values():
            if called(d) == "Role varve-controller":
                check([r for r in d["rules"] if r["resources"] == ["secrets"]] == SECRETS, f"{called(d)}: secrets")
            for rule in d["rules"]:
                if called(d) == "Role varve-controller" and rule in SECRETS:
                    continue
                verbs, name = set(rule["verbs"]), d["metadata"]["name"]
                check(rule.keys() == {"apiGroups", "resources", "verbs"}, f"{called(d)}: {rule}")
                for r in rule["resources"]:
                    allowed = WRITES.get((name, r), set())
                    unused.pop((name, r), None)
                    check(verbs <= READ | allowed, f"{called(d)}: {r}: {sorted(verbs - READ - allowed)}")
                    check("secret" not in r and "*" not in r + "".join(rule["apiGroups"]), f"{called(d)}: {r}")
    check(not unused, f"nobody has these rights any more: {list(unused)}")


def test_privileges():
    for d, spec in pod_specs(manifest()):
        check(not spec.get("hostNetwork") and not spec.get("hostIPC"), f"{called(d)}: host's network or IPC")
        for c in containers(spec):
            s, who = spec.get("securityContext", {}) | c["securityContext"], f"{called(d)}: {c['name']}"
            if d["kind"] == "DaemonSet" and c["name"] in ("install", "varve-csi"):
                check(s == {"privileged": True}, who)
                continue
            check(not s.get("privileged") and s["allowPrivilegeEscalation"] is False, who)
            check(s["capabilities"] == {"drop": ["ALL"]} and s["readOnlyRootFilesystem"], who)
            check(s["seccompProfile"] == {"type": "RuntimeDefault"}, who)
            check(d["kind"] == "DaemonSet" or (s["runAsNonRoot"] and s["runAsUser"] > 0), f"{who}: is root")
            sees = {"/csi", "/tls"} if c["name"] == "varve-csi" else {"/csi"}
            check({m["mountPath"] for m in c.get("volumeMounts", [])} <= sees, f"{who}: sees more than the socket")
        check(d["kind"] == "DaemonSet" or all("hostPath" not in v for v in spec.get("volumes", [])), f"{called(d)}: sees the node")


def test_images():
    version = re.search(r"^VERSION := (\S+)", (TREE / "Makefile").read_text(), re.M).group(1)
    built = dict(re.findall(r"^([A-Z]+)=(v[0-9.]+)$", (TREE / "tests/k8s/get.sh").read_text(), re.M))
    tag = {"csi-provisioner": built["PROVISIONER"], "csi-snapshotter": built["SNAPSHOTTER"], "snapshot-controller": built["SNAPSHOTTER"],
           "csi-resizer": built["RESIZER"]}
    for d, spec in pod_specs(manifest()):
        for c in containers(spec):
            name, _, have = c["image"].rpartition(":")
            want = {"localhost/varve": version}.get(name) or tag.get(name.rpartition("/")[2])
            check(have == want, f"{called(d)}: {c['image']}; what is tested is {want}")
            check(c["imagePullPolicy"] == "IfNotPresent", f"{called(d)}: {c['name']}: imagePullPolicy")
    chart = load((DEPLOY / "chart/Chart.yaml").read_text())[0]
    check(chart["version"] == chart["appVersion"] == version, "Chart.yaml: version")
    for where, docs in examples().items():
        for d, spec in pod_specs(docs):
            check(all(re.fullmatch(r"[a-z/.-]+:[0-9.]+", c["image"]) for c in containers(spec)), f"{where}: an image without a version")


def options_of(program):
    return set(re.findall(r"--[a-z-]+", subprocess.run([BUILD / program, "--help"], capture_output=True, text=True).stdout))


def test_words_are_understood():
    known = {p: options_of(p) for p in ("varve-csi", "varve-node", "varve-manifests")}
    for d, spec in pod_specs(manifest()):
        for c in containers(spec):
            probes = [c[p]["exec"]["command"] for p in ("startupProbe", "livenessProbe", "readinessProbe") if "exec" in c.get(p, {})]
            for words in [c.get("command", []), *probes]:
                if not words:
                    continue
                program = words[0].removeprefix("/opt/varve/bin/")
                check(program in known, f"{c['name']}: {words[0]}")
                for w in words[1:]:
                    check(not w.startswith("--") or w.partition("=")[0] in known.get(program, ()), f"{c['name']}: {program} does not know {w}")
                    check("$" not in w and "{{" not in w, f"{c['name']}: {w}")


def test_probes():
    spec = node_spec(manifest())
    c = by_name(spec)["varve-csi"]
    endpoint = next(w for w in c["command"] if w.startswith("--endpoint="))
    store = next(w for w in c["command"] if w.startswith("--store="))
    for p in ("startupProbe", "livenessProbe", "readinessProbe"):
        words = c[p]["exec"]["command"]
        check(endpoint in words, f"{p}: asks elsewhere")
        check((store in words) == (p == "readinessProbe"), f"{p}: a store that is not served is no reason to end the driver")
        check(c[p]["timeoutSeconds"] > 5, f"{p}: ends before varve-node does")
    check(store in by_name(spec)["install"]["command"], "install: another store")
    controller = spec_of(manifest(), "Deployment varve-snapshot-controller")["containers"][0]
    check({"livenessProbe", "readinessProbe"} <= controller.keys(), "snapshot-controller: probes")
    c = by_name(spec_of(manifest(), "Deployment varve-controller"))["varve-csi"]
    for p in ("startupProbe", "livenessProbe"):
        check(c[p]["exec"]["command"][2:] == [next(w for w in c["command"] if w.startswith("--endpoint="))], f"controller: {p}: asks elsewhere")


def by_name(spec):
    return {c["name"]: c for c in containers(spec)}


def test_paths_agree():
    docs = manifest()
    spec = node_spec(docs)
    driver, all_of = list(by_kind(docs, "CSIDriver"))[0], by_name(spec)
    paths = {v["name"]: v["hostPath"]["path"] for v in spec["volumes"] if "hostPath" in v}
    csi = all_of["varve-csi"]
    for m in (m for m in csi["volumeMounts"] if m["name"] != "tls"):
        check(m["mountPath"] == paths[m["name"]], f"{m['name']}: is not seen by the path of the node")
        check((m.get("mountPropagation") == "Bidirectional") == (m["name"] == "kubelet"), f"{m['name']}: propagation")
    socket = f"{paths['kubelet']}/plugins/{driver}"
    check(paths["socket"] == socket and f"--endpoint=unix://{socket}/csi.sock" in csi["command"], "the socket of the sidecars is another one")
    check(f"--registration={paths['kubelet']}/plugins_registry/{driver}-reg.sock" in csi["command"], "the kubelet looks elsewhere")
    check(f"--store={paths['store']}" in csi["command"], "the store is elsewhere")
    check(paths["config"] == "/etc/varve", "the driver knows other repositories and profiles than the daemon")
    check(spec["hostPID"] is True, "varve-node finds no node without hostPID")
    c = all_of["provisioner"]
    check("--node-deployment=true" in c["args"], "provisioner: not for one node")
    check(any(e["name"] == "NODE_NAME" for e in c["env"]), "provisioner: NODE_NAME")


def word(c, option):
    return next(w.partition("=")[2] for w in c["command"] if w.startswith(option + "="))


def test_controller():
    """It finds the nodes' drivers, and both have the certificates that are made for them."""
    docs = manifest()
    node, spec = by_name(node_spec(docs))["varve-csi"], spec_of(docs, "Deployment varve-controller")
    all_of, kube = by_name(spec), (TREE / "plugin/kube.h").read_text()
    labels = by_kind(docs, "DaemonSet")["varve-node"]["spec"]["template"]["metadata"]["labels"]
    check(set(re.search(r'NODES_SELECTOR "([^"]+)"', kube).group(1).split(",")) == {f"{k}={v}" for k, v in labels.items()}, "other pods are asked")
    port = next(p["containerPort"] for p in node["ports"] if p["name"] == "csi")
    check(word(node, "--listen") == f":{port}", "the nodes' drivers listen elsewhere")
    driver = list(by_kind(docs, "CSIDriver"))[0]
    for c in (node, all_of["varve-csi"], all_of["certificates"]):
        check(word(c, "--driver-name") == driver, f"{c['name']}: another driver")
    for s, c, secret in ((node_spec(docs), node, "varve-node-tls"), (spec, all_of["varve-csi"], "varve-controller-tls")):
        volume = next(v["secret"] for v in s["volumes"] if v["name"] == "tls")
        check(volume["secretName"] == secret and volume["optional"] and volume["defaultMode"] & 0o337 == 0, f"{secret}: {volume}")
        check(word(c, "--tls") == next(m["mountPath"] for m in c["volumeMounts"] if m["name"] == "tls"), f"{secret}: is not seen")
        check(f'default: {secret}' in subprocess.run([BUILD / "varve-manifests", "--help"], capture_output=True, text=True).stdout, f"{secret}: another is made")
    check({i["key"] for i in volume["items"]} == {"ca.crt", "tls.crt", "tls.key"}, "the controller sees the nodes' key")
    check(by_kind(docs, "Deployment")["varve-controller"]["spec"]["strategy"] == {"type": "Recreate"}, "two at once")
    for name in ("resizer", "snapshotter"):
        check(not any("--node-deployment" in w for w in all_of[name]["args"]), f"{name}: for one node")
        check(f"unix://{all_of[name]['args'][0].partition('=')[2]}" == word(all_of["varve-csi"], "--endpoint"), f"{name}: asks elsewhere")


def test_classes():
    docs = manifest()
    driver = list(by_kind(docs, "CSIDriver"))[0]
    profiles = {p.stem for p in (TREE / "conf/profiles").glob("*.conf")}
    page = set(re.findall(r"^\| `(\w+)` \|", (TREE / "docs/kubernetes.md").read_text(), re.M))
    for kind, field in (("StorageClass", "provisioner"), ("VolumeAttributesClass", "driverName"), ("VolumeSnapshotClass", "driver"),
                        ("VolumeGroupSnapshotClass", "driver")):
        check(by_kind(docs, kind), f"no {kind}")
        for d in by_kind(docs, kind).values():
            check(d[field] == driver, f"{called(d)}: {d[field]}")
            parameters = d.get("parameters", {})
            check(parameters.keys() <= page, f"{called(d)}: {parameters} is not on the page")
            check(parameters.get("profile", "database") in profiles, f"{called(d)}: no such profile")
    for d in by_kind(docs, "StorageClass").values():
        want = "Immediate" if d["metadata"]["name"] == "varve-copy" else "WaitForFirstConsumer"
        check(d["volumeBindingMode"] == want, f"{called(d)}: a volume would be made where no pod comes")
    for where, docs in examples().items():
        for d in docs:
            source = d.get("spec", {}).get("dataSource") if d["kind"] == "PersistentVolumeClaim" else None
            check(not source or d["spec"]["storageClassName"] in ("varve-copy", "varve-offsite"), f"{where}: the source may be on another node")


def test_examples_fit():
    docs = manifest()
    have = {"storageClassName": by_kind(docs, "StorageClass"), "volumeAttributesClassName": by_kind(docs, "VolumeAttributesClass"),
            "volumeSnapshotClassName": by_kind(docs, "VolumeSnapshotClass"), "volumeGroupSnapshotClassName": by_kind(docs, "VolumeGroupSnapshotClass")}

    def walk(where, x):
        if isinstance(x, dict):
            for k, v in x.items():
                if k in have and v:
                    own = {d["metadata"]["name"] for docs in examples().values() for d in docs if d["kind"].endswith("Class")}
                    check(v in have[k] or v in own, f"{where}: {k}: {v}")
                walk(where, v)
        elif isinstance(x, list):
            for v in x:
                walk(where, v)
    for where, all_of in examples().items():
        walk(where, all_of)


def test_page():
    """Each object on the page is one of a file, and each file is named there."""
    text = (TREE / "docs/kubernetes.md").read_text()
    shipped = [d for docs in [manifest(), *examples().values()] for d in docs]
    for block in re.findall(r"(?:^    .*\n|^\s*\n(?=    ))+", text, re.M):
        block = re.sub(r"^    ", "", block, flags=re.M)
        if not re.search(r"^apiVersion:", block, re.M):
            continue
        for d in load(block[re.search(r"^apiVersion:", block, re.M).start():]):  # commands may stand before it
            check(d in shipped, f"docs/kubernetes.md: {called(d)} is in no file of plugin/deploy")
    for name in examples():
        check(f"examples/{name}" in text, f"docs/kubernetes.md does not name examples/{name}")
    for name in re.findall(r"examples/([\w-]+\.yaml)", text):
        check(name in examples(), f"docs/kubernetes.md: there is no examples/{name}")


def test_chart():
    helm = shutil.which("helm") or (str(CACHE / "k8s/bin/helm") if (CACHE / "k8s/bin/helm").exists() else None)
    if not helm:
        return "no helm here; `tests/k8s/get.sh helm` builds it"
    version = re.search(r"^KUBERNETES=.*:-([0-9.]+)", (TREE / "tests/k8s/get.sh").read_text(), re.M).group(1)

    def render(*words):
        out = subprocess.run([helm, "template", "varve", DEPLOY / "chart", "--namespace", NAMESPACE, "--kube-version", version, *words], capture_output=True, text=True)
        if out.returncode != 0:
            raise yaml.YAMLError(out.stderr.strip())
        return load(out.stdout)
    key = lambda d: (d["kind"], d["metadata"]["name"])
    plain = {key(d): d for d in manifest()}
    made = {key(d): d for d in render()}
    for k in sorted(plain.keys() | made.keys()):
        if k != ("Namespace", NAMESPACE):
            check(plain.get(k) == made.get(k), f"{' '.join(k)}: the chart and varve.yaml differ: {made.get(k)} and {plain.get(k)}")
    small = render("--set", "classes=false,snapshotController.enabled=false,snapshotController.groups=false,maxVolumes=5,verbose=true,flexVolume=/x,driverName=csi.example.org,takeoverAfter=60,seLinuxMount=false,networkPolicy=true,controller.port=7000,controller.certificateDays=30")
    check({d["kind"] for d in small} == {"ServiceAccount", "ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding", "CSIDriver", "DaemonSet", "Deployment", "NetworkPolicy"}, str({d["kind"] for d in small}))
    words = by_name(node_spec(small))
    control = by_name(spec_of(small, "Deployment varve-controller"))
    check(not any("feature-gates" in w for w in control["snapshotter"]["args"]), "groups")
    check(word(control["certificates"], "--days") == "30" and word(control["certificates"], "--driver-name") == "csi.example.org", "certificates")
    check(word(words["varve-csi"], "--listen") == ":7000" and words["varve-csi"]["ports"] == [{"name": "csi", "containerPort": 7000}], "controller.port")
    policy = by_kind(small, "NetworkPolicy")["varve-node"]["spec"]
    check(policy["podSelector"]["matchLabels"] == by_kind(small, "DaemonSet")["varve-node"]["spec"]["selector"]["matchLabels"], "NetworkPolicy: of others")
    check(policy["ingress"][0]["from"] == [{"podSelector": by_kind(small, "Deployment")["varve-controller"]["spec"]["selector"]}], "NetworkPolicy: for others")
    shared = render("--set", "directories={/srv/backup,/mnt/vault}")
    mounts = {m["mountPath"] for m in by_name(node_spec(shared))["varve-csi"]["volumeMounts"]}
    check({"/srv/backup", "/mnt/vault"} <= mounts, str(mounts))
    asked = {key(d): d for d in render("--set", "secrets[0].name=offsite,secrets[0].namespace=varve-system")}
    for d in examples()["secret.yaml"][1:]:
        d["metadata"]["labels"] = asked[key(d)]["metadata"]["labels"]
        check(d == asked[key(d)], f"examples/secret.yaml: {called(d)} is not what the chart makes")
    extra = render("--set", "secrets[0].name=offsite,secrets[0].namespace=vault")
    role = next(d for d in extra if d["kind"] == "Role" and d["metadata"]["namespace"] == "vault")
    check(role["rules"] == [{"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["offsite"], "verbs": ["get"]}], str(role["rules"]))
    check(by_kind(small, "CSIDriver")["csi.example.org"]["spec"]["seLinuxMount"] is False, "seLinuxMount")
    check({"--max-volumes=5", "--takeover-after=60", "--verbose", "--driver-name=csi.example.org"} <= set(words["varve-csi"]["command"]), str(words["varve-csi"]["command"]))
    check("--flex=/x" in words["install"]["command"], str(words["install"]["command"]))
    return None


def main():
    tests = {n: f for n, f in globals().items() if n.startswith("test_")}
    passed = failed = skipped = 0
    for name in sys.argv[2:] or tests:
        problems.clear()
        try:
            why = tests[name]()
        except (yaml.YAMLError, KeyError, StopIteration, TypeError) as e:
            why = problems.append(f"{type(e).__name__}: {e}")
        for p in problems:
            print(f"    {p}")
        if problems:
            failed += 1
            print(f"FAILED {name}")
        elif why:
            skipped += 1
            print(f"skipped {name}: {why}")
        else:
            passed += 1
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    return failed > 0


sys.exit(main())
