# Sourced by cluster.sh: the cases, in the order in which they build on one another. Each ends with nothing of its own left.
EX=$deploy/examples
NEEDS=300 # seconds that anything may take on a machine that others use, too

fail() {
    failures=$((failures + 1))
    printf '    line %s: %s\n' "${BASH_LINENO[0]}" "$*"
}
k() { kubectl "$@"; }
is() { [ "$(k get "$1" -o "jsonpath=$2" 2>/dev/null)" = "$3" ]; } # OBJECT PATH VALUE
within() { await "$NEEDS" "$@"; }
running() { within is "pod/$1" '{.status.phase}' Running || { fail "pod $1: $(k get "pod/$1" -o 'jsonpath={.status.phase}'), $(why "$1")"; return 1; }; }
why() { k get events --field-selector "involvedObject.name=$1" -o 'jsonpath={.items[-1:].message}' 2>/dev/null; }
gone() { ! k get "$1" >/dev/null 2>&1; }
node_of() { k get "pod/$1" -o 'jsonpath={.spec.nodeName}'; }
in_pod() { k exec "$1" -- "${@:2}"; }
drop() { k delete --wait=true --timeout=${NEEDS}s --ignore-not-found "$@" >/dev/null || fail "not deleted: $*"; }

# mounts_left N, volumes_left N: of ours, on this node
mounts_left() { on "$1" awk '$3 == "fuse.varve" && $2 ~ "^/var/lib/kubelet/" { print $2 }' /proc/self/mounts; }
volumes_left() { on "$1" /opt/varve/bin/varve list /var/lib/varve/store | sed 1d | awk '$1 != "main" { print $1 }'; }

# --- without Kubernetes: containerd starts what the DaemonSet would ----------------------------------------------------------

STORE=/var/lib/varve/store
KUBE=$(sed -n 's/^KUBERNETES=.*:-\(.*\)}$/\1/p' "$here/get.sh")
ctr_on() { on "$1" ctr -a /run/containerd/containerd.sock -n k8s.io "${@:2}"; }
# container N [-d] NAME COMMAND...: as the manifest has it: privileged, sees the node's processes, the kubelet's directory and the store
container() {
    local n=$1 detached=()
    [ "$2" != -d ] || { detached=(-d) && shift; }
    on "$n" mkdir -p $STORE
    ctr_on "$n" run "${detached[@]}" $([ ${#detached[@]} -gt 0 ] || echo --rm) --runc-binary "$bin/runc" --privileged --rootfs-propagation rshared --with-ns pid:/proc/1/ns/pid \
        --mount type=bind,src=/var/lib/kubelet,dst=/var/lib/kubelet,options=rbind:rshared:rw \
        --mount type=bind,src=$STORE,dst=$STORE,options=rbind:rslave:rw localhost/varve:0.1.0 "${@:2}"
}
csi_sock=/var/lib/kubelet/plugins/csi.varve.io/csi.sock
csi_up() {
    on "$1" mkdir -p ${csi_sock%/*}
    container "$1" -d "$2" /opt/varve/bin/varve-csi --store $STORE --endpoint unix://$csi_sock --node-id "node$1" --max-volumes 8 --no-snapshot-topology || return 1
    await 60 on "$1" /opt/varve/bin/varve-node probe --endpoint unix://$csi_sock --store $STORE
}

test_containers_alone() {
    local n=1 at=/var/lib/kubelet/at pid sanity
    container $n install /opt/varve/bin/varve-node install --store $STORE >"$logs/install.log" 2>&1 || { fail "$(cat "$logs/install.log")"; return; }
    pid=$(on $n /opt/varve/bin/varve status $STORE --json | sed -n 's/.*"daemon_pid": \([0-9]*\).*/\1/p')
    [ -n "$pid" ] || fail 'not served when the container is gone'
    csi_up $n csi-1 || { fail 'varve-csi does not come up'; return; }
    sanity=$(find "$VARVE_CACHE/csi/bin" -name 'csi-sanity-*' -perm -u+x 2>/dev/null | sort -V | tail -n 1)
    if [ -n "$sanity" ]; then
        on $n sh -c "cd /var/lib/kubelet && $sanity -csi.endpoint unix://$csi_sock -csi.mountdir /var/lib/kubelet/m -csi.stagingdir /var/lib/kubelet/s \
            -csi.testvolumesize 1073741824 -csi.testvolumeexpandsize 2147483648 -ginkgo.no-color" >"$logs/sanity.log" 2>&1 || fail "$(grep -aE '\[FAIL\]|^Ran' "$logs/sanity.log")"
        say "    $(grep -a '^Ran ' "$logs/sanity.log"), in a container"
    fi
    # mounted by the container, seen by the node, and there when the container is gone
    on $n mkdir -p $at
    ctr_on $n task exec --exec-id m1 csi-1 /opt/varve/bin/varve mount --create $STORE/work $at >/dev/null || fail 'not mounted in the container'
    [ "$(mounts_left $n)" = $at ] || fail 'the node does not see it'
    on $n sh -c "echo one >$at/file && sync $at/file" || fail 'not written'
    on $n sh -c "exec 3>>$at/log; while [ ! -e /run/enough ]; do echo line >&3 && sync $at/log || { echo failed; exit 1; }; done" >"$logs/writer.log" 2>&1 &
    local writer=$!
    ctr_on $n task kill -s 9 csi-1
    await 30 sh -c "! nsenter -t $node1 -m -p $bin/ctr -a /run/containerd/containerd.sock -n k8s.io task ls | grep -q 'csi-1.*RUNNING'"
    ctr_on $n task rm csi-1 >/dev/null 2>&1
    ctr_on $n container rm csi-1 || fail 'the container stays'
    [ "$(on $n cat $at/file)" = one ] || fail 'the mount went with the container'
    csi_up $n csi-2 || fail 'not another one'
    [ "$(on $n /opt/varve/bin/varve status $STORE --json | sed -n 's/.*"daemon_pid": \([0-9]*\).*/\1/p')" = "$pid" ] || fail 'the daemon is another one'
    on $n kill -9 "$pid"
    [ "$(on $n cat $at/file)" = one ] || fail 'the mount went with the daemon'
    on $n touch /run/enough
    wait $writer || fail "the writer has failed: $(cat "$logs/writer.log")"
    ctr_on $n task exec --exec-id u1 csi-2 /opt/varve/bin/varve umount $at || fail 'not unmounted in the container'
    [ -z "$(mounts_left $n)" ] || fail "$(mounts_left $n)"
    ctr_on $n task kill -s 9 csi-2
    sleep 2
    ctr_on $n task rm csi-2 >/dev/null 2>&1
    ctr_on $n container rm csi-2
    on $n /opt/varve/bin/varve delete $STORE/work --now >/dev/null
}

# --- the cluster -------------------------------------------------------------------------------------------------------------

definitions() {
    local dir
    dir=$(sed -n 's/^SNAPSHOTTER=//p' "$here/get.sh")
    dir=$VARVE_CACHE/k8s/crd-$dir
    for f in "$dir"/*snapshot.storage*.yaml; do k apply -f "$f" || return 1; done
    k wait --for=condition=Established crd --all --timeout=120s
}

test_objects_are_taken() {
    local f
    definitions >"$logs/definitions.log" 2>&1 || fail "$(tail -n 3 "$logs/definitions.log")"
    k apply --validate=strict -f "$deploy/varve.yaml" >"$logs/apply.log" 2>&1 || fail "$(cat "$logs/apply.log")"
    k apply --validate=strict -f "$deploy/varve.yaml" 2>&1 | grep -v ' unchanged$' | grep . && fail 'not the same when applied again'
    await 60 k get serviceaccount default || fail 'no service account default'
    for f in "$EX"/*.yaml; do
        k apply --validate=strict --dry-run=server -f "$f" >"$logs/apply.log" 2>&1 || fail "${f##*/}: $(cat "$logs/apply.log")"
    done
}

test_driver_on_both_nodes() {
    k -n varve-system rollout status daemonset/varve-node --timeout=${NEEDS}s >/dev/null || fail "$(k -n varve-system describe pods -l app.kubernetes.io/component=node | tail -n 30)"
    k -n varve-system rollout status deployment/varve-snapshot-controller --timeout=${NEEDS}s >/dev/null || fail 'no snapshot controller'
    controller_up
    for n in 1 2; do
        within is "csinode/node$n" '{.spec.drivers[?(@.name=="csi.varve.io")].nodeID}' "node$n" || fail "node$n: the kubelet does not know the driver"
        on $n /opt/varve/bin/varve status /var/lib/varve/store >/dev/null || fail "node$n: not served"
    done
    within test "$(k -n varve-system get csistoragecapacities -o name | wc -l)" -ge 2 || fail 'no capacity'
}

test_claim_and_pod() {
    k apply -f "$EX/pvc.yaml" >/dev/null
    running writer || return
    within in_pod writer grep -q hello /data/greeting || fail 'not written'
    is pvc/data '{.status.phase}' Bound || fail 'not bound'
}

test_snapshot_and_restore() {
    k apply -f "$EX/snapshot.yaml" >/dev/null
    within is volumesnapshot/data-1 '{.status.readyToUse}' true || { fail "$(k get volumesnapshot/data-1 -o 'jsonpath={.status.error.message}')"; return; }
    in_pod writer sh -c 'echo changed >/data/greeting'
    k apply -f "$EX/restore.yaml" >/dev/null
    running restored || return
    [ "$(in_pod restored cat /data/greeting)" = hello ] || fail 'not as it was'
    [ "$(node_of restored)" = "$(node_of writer)" ] || fail 'on another node'
    in_pod writer sh -c 'echo hello >/data/greeting'
    drop pod/restored pvc/restored
}

test_copy() {
    k apply -f "$EX/clone.yaml" >/dev/null
    running cloned || return
    [ "$(in_pod cloned cat /data/greeting)" = hello ] || fail 'not the same'
    drop pod/cloned pvc/cloned
}

test_expanded() {
    k apply -f "$EX/expand.yaml" >/dev/null
    within is pvc/data '{.status.capacity.storage}' 2Gi || { fail "$(k describe pvc data | tail -n 5)"; return; }
    [ "$(in_pod writer df -kP /data | awk 'NR == 2 { print $2 }')" -ge 2097000 ] || fail "$(in_pod writer df -k /data)"
    k get pvc/data -o yaml | grep -q Infeasible && fail 'the resizer has given up'
    [ -z "$(unavailable data)" ] || fail "$(unavailable data)"
}

test_another_profile() {
    k patch pvc data --type merge -p '{"spec": {"volumeAttributesClassName": "varve-database"}}' >/dev/null
    within is pvc/data '{.status.currentVolumeAttributesClassName}' varve-database || fail "$(k describe pvc data | tail -n 5)"
}

test_one_writer() {
    sed 's/ReadWriteOnce/ReadWriteOncePod/; s/name: data$/name: alone/; s/claimName: data/claimName: alone/; s/name: writer$/name: alone-1/' "$EX/pvc.yaml" >$W/alone.yaml
    k apply -f $W/alone.yaml >/dev/null
    running alone-1 || return
    k get pod/alone-1 -o json | sed 's/"name": "alone-1"/"name": "alone-2"/; /"nodeName":/d' | python3 -c '
import json, sys
pod = json.load(sys.stdin)
json.dump({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "alone-2"}, "spec": {"containers": [{k: v for k, v in c.items() if k in ("name", "image", "command")} | {"volumeMounts": [{"name": "data", "mountPath": "/data"}]} for c in pod["spec"]["containers"]], "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "alone"}}], "terminationGracePeriodSeconds": 1}}, sys.stdout)' | k apply -f - >/dev/null
    within is pod/alone-2 '{.status.conditions[?(@.type=="PodScheduled")].status}' False || fail 'two pods have it'
    drop pod/alone-1
    running alone-2
    drop pod/alone-2 pvc/alone
}

test_history_in_a_subpath() {
    k apply -f "$EX/history.yaml" >/dev/null
    running history || return
    within in_pod history test -s /home/me/file || fail 'a member of fsGroup cannot write'
    in_pod history mkdir /home/me/.snapshots/mine || fail 'none can be taken'
    in_pod history sh -c 'echo changed >/home/me/file'
    in_pod history ls /home/me/.snapshots | grep -qx mine || fail "it is not seen: $(in_pod history ls -la /home/me/.snapshots 2>&1)"
    in_pod history grep -qx mine /home/me/.snapshots/mine/file || fail "$(in_pod history ls -la /home/me/.snapshots/mine 2>&1)"
    in_pod history rmdir /home/me/.snapshots/mine || fail 'not deleted'
    drop pod/history pvc/homes
}

# the volume is staged already, for a pod without a group
test_another_pods_group() {
    sed -n '/^kind: Pod$/,$p' "$EX/history.yaml" | sed '1i apiVersion: v1' | sed 's/claimName: homes/claimName: data/' | k apply -f - >/dev/null
    running history || return
    within in_pod history test -s /home/me/file || fail "a member of fsGroup cannot write: $(in_pod history ls -lan /home/me)"
    drop pod/history
}

test_group() {
    k apply -f "$EX/group.yaml" >/dev/null
    running shop || return
    within is volumegroupsnapshot/shop-1 '{.status.readyToUse}' true || { fail "$(k get volumegroupsnapshot/shop-1 -o 'jsonpath={.status.error.message}')"; }
    [ "$(k get volumesnapshots -o 'jsonpath={range .items[?(@.status.volumeGroupSnapshotName=="shop-1")]}{.metadata.name}{"\n"}{end}' | grep -c .)" = 2 ] \
        || fail "$(k get volumesnapshots)"
    drop volumegroupsnapshot/shop-1
    drop pod/shop pvc/shop-files pvc/shop-index
}

# pinned FILE NODE: its pods go to this node
pinned() {
    python3 - "$1" "$2" <<'PY'
import sys, yaml
docs = list(yaml.safe_load_all(open(sys.argv[1])))
for d in docs:
    if d["kind"] == "Pod":
        d["spec"]["nodeSelector"] = {"kubernetes.io/hostname": sys.argv[2]}
yaml.safe_dump_all(docs, sys.stdout)
PY
}

test_group_of_two_nodes() {
    pair || return
    sed -n '/^kind: VolumeGroupSnapshot$/,$p' "$EX/group.yaml" | sed "1i apiVersion: groupsnapshot.storage.k8s.io/v1beta2" | sed 's/shop/pair/' | k apply -f - >/dev/null
    within sh -c 'kubectl get volumegroupsnapshot/pair-1 -o "jsonpath={.status.error.message}" | grep -q "a group is of one node"' \
        || fail "not refused: $(k get volumegroupsnapshot/pair-1 -o 'jsonpath={.status}')"
    is volumegroupsnapshot/pair-1 '{.status.readyToUse}' true && fail 'taken'
    k get volumesnapshots -o name | grep -v /data-1 | grep . && fail 'there is half of it'
    drop volumegroupsnapshot/pair-1
    drop pod/pair-1 pod/pair-2 pvc/pair-1 pvc/pair-2
}

# --- snapshots that are uploaded ---------------------------------------------------------------------------------------------

S3_PORT=7070
# varve_on N WORDS...: as its administrator, whose settings are the machine's
varve_on() { on "$1" env -u HOME XDG_CONFIG_HOME=/etc /opt/varve/bin/varve "${@:2}"; }
opened=(--credentials $W/s3/credentials --passphrase-file $W/s3/passphrase)

# a server that both nodes reach; its repository opens by what is in the secret, and the nodes do not have that
repository() {
    local n url="s3://vault/k8s?endpoint=http://$HUB:$S3_PORT"
    [ -z "${pid_s3:-}" ] || return 0
    mkdir -p $W/s3/data/vault $W/s3/versions
    s3_environment
    printf '[default]\naws_access_key_id = %s\naws_secret_access_key = %s\n' "$AWS_ACCESS_KEY_ID" "$AWS_SECRET_ACCESS_KEY" >$W/s3/credentials
    printf 'a passphrase of many words' >$W/s3/passphrase
    ROOT_ACCESS_KEY=$AWS_ACCESS_KEY_ID ROOT_SECRET_KEY=$AWS_SECRET_ACCESS_KEY daemon s3 "$s3_bin/versitygw-${VERSITYGW##*@}" --port "$HUB:$S3_PORT" \
        --quiet --keep-alive posix --versioning-dir $W/s3/versions $W/s3/data
    unset AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY
    within bash -c "exec 3<>/dev/tcp/$HUB/$S3_PORT" || { fail "no S3 server: $(tail -n 3 "$logs/s3.log")"; return 1; }
    varve_on 1 repo init "$url" "${opened[@]}" >"$logs/repo.log" 2>&1 || { fail "$(cat "$logs/repo.log")"; return 1; }
    printf 'name = "upload-snapshot-to-cloud";\nbackups = ( { every = "24h"; to = "offsite"; } );\n' >$W/s3/upload.conf
    for n in 1 2; do
        varve_on $n repo add offsite "$url" >"$logs/repo.log" 2>&1 && varve_on $n profile add $W/s3/upload.conf >>"$logs/repo.log" 2>&1 \
            || { fail "node$n: $(cat "$logs/repo.log")"; return 1; }
    done
    python3 - "$EX/secret.yaml" $W/s3 <<'PY' | k apply -f - >/dev/null
import sys, yaml
docs = list(yaml.safe_load_all(open(sys.argv[1])))
docs[0]["stringData"] = {k: open(f"{sys.argv[2]}/{k}").read() for k in docs[0]["stringData"]}
yaml.safe_dump_all(docs, sys.stdout)
PY
}
points() { varve_on 1 backup list offsite "${opened[@]}" --json | python3 -c 'import json, sys; print(len(json.load(sys.stdin)["recovery_points"]))'; }
no_points() { [ "$(points)" = 0 ]; }

test_uploaded_here_restored_there() {
    local here_is there handle
    [ -z "${K8S_NO_S3:-}" ] || { skip=$K8S_NO_S3; return; }
    repository || return
    here_is=$(number writer)
    there=$((3 - here_is))
    k apply -f "$EX/upload.yaml" >/dev/null
    within is volumesnapshot/data-offsite '{.status.readyToUse}' true || { fail "$(k get volumesnapshot/data-offsite -o 'jsonpath={.status.error.message}')"; return; }
    [ "$(points)" = 1 ] || fail "$(points) recovery points"
    handle=$(k get "volumesnapshotcontent/$(k get volumesnapshot/data-offsite -o 'jsonpath={.status.boundVolumeSnapshotContentName}')" -o 'jsonpath={.status.snapshotHandle}')
    [[ $handle == offsite#* ]] || fail "its handle is $handle"
    varve_on 1 restore "$handle" --attachments $W/attached "${opened[@]}" >"$logs/attached.log" 2>&1 || fail "$(cat "$logs/attached.log")"
    [ "$(python3 -c 'import json, sys; print(*sorted({d["kind"] + "/" + d["metadata"]["name"] for d in json.load(open(sys.argv[1]))["items"]} & {"PersistentVolumeClaim/data", "Pod/writer", "StorageClass/varve"}))' $W/attached/manifests.json)" \
        = 'PersistentVolumeClaim/data Pod/writer StorageClass/varve' ] || fail "without its manifests: $(ls $W/attached) $(k -n varve-system logs daemonset/varve-node -c varve-csi | grep manifests)"
    pinned "$EX/restore-elsewhere.yaml" "node$there" | k apply -f - >/dev/null
    running elsewhere || return
    [ "$(number elsewhere)" = "$there" ] || fail 'not there'
    [ "$(in_pod elsewhere cat /data/greeting)" = hello ] || fail 'not as it was'
    drop pod/elsewhere pvc/elsewhere
    # any recovery point, by its global id alone
    sed "s/offsite#3f786850e387/$handle/" "$EX/recovery-point.yaml" | k apply -f - >/dev/null
    within is volumesnapshot/monday '{.status.readyToUse}' true || fail "$(k get volumesnapshot/monday -o 'jsonpath={.status.error.message}')"
    sed 's/name: data-offsite/name: monday/' "$EX/restore-elsewhere.yaml" >$W/monday.yaml
    pinned $W/monday.yaml "node$there" | k apply -f - >/dev/null
    running elsewhere && [ "$(in_pod elsewhere cat /data/greeting)" = hello ] || fail 'not by its global id'
    drop pod/elsewhere pvc/elsewhere volumesnapshot/monday volumesnapshotcontent/monday
    [ "$(points)" = 1 ] || fail 'deletionPolicy Retain did not keep it'
    drop volumesnapshot/data-offsite
    [ "$(points)" = 0 ] || fail "$(points) recovery points are left"
    k delete storageclass/varve-offsite volumesnapshotclass/varve-upload >/dev/null
}

test_group_uploaded() {
    local there=$((3 - $(number writer))) member
    [ -z "${K8S_NO_S3:-}" ] || { skip=$K8S_NO_S3; return; }
    python3 - "$EX/upload.yaml" "$EX/group.yaml" $W/group <<'PY'
import sys, yaml
kind, what = next(yaml.safe_load_all(open(sys.argv[1]))), list(yaml.safe_load_all(open(sys.argv[2])))
names = {"profile": kind["parameters"]["profile"], "csi.storage.k8s.io/group-snapshotter-secret-name": "offsite", "csi.storage.k8s.io/group-snapshotter-secret-namespace": "varve-system",
         "csi.storage.k8s.io/group-snapshotter-get-secret-name": "offsite", "csi.storage.k8s.io/group-snapshotter-get-secret-namespace": "varve-system"}
what[-1]["spec"]["volumeGroupSnapshotClassName"] = "varve-upload"
own = {"apiVersion": what[-1]["apiVersion"], "kind": "VolumeGroupSnapshotClass", "metadata": {"name": "varve-upload"}, "driver": kind["driver"], "deletionPolicy": "Delete", "parameters": names}
for name, docs in (("1", [own, *what[:-1]]), ("2", what[-1:])):
    yaml.safe_dump_all(docs, open(sys.argv[3] + name, "w"))
PY
    k apply -f $W/group1 >/dev/null
    running shop || return
    within in_pod shop test -s /index/log || fail 'not written'
    k apply -f $W/group2 >/dev/null
    within is volumegroupsnapshot/shop-1 '{.status.readyToUse}' true || { fail "$(k get volumegroupsnapshot/shop-1 -o 'jsonpath={.status.error.message}')"; return; }
    [ "$(points)" = 2 ] || fail "$(points) recovery points"
    within sh -c '[ "$(kubectl get volumesnapshots -o "jsonpath={range .items[?(@.status.volumeGroupSnapshotName==\"shop-1\")]}{.status.readyToUse}{\"\\n\"}{end}" | grep -c true)" = 2 ]' || fail "$(k get volumesnapshots)"
    member=$(k get volumesnapshots -o 'jsonpath={range .items[?(@.spec.source.persistentVolumeClaimName=="shop-index")]}{.metadata.name}{end}')
    sed "s/name: data-offsite/name: $member/; s,/data/greeting,/data/log," "$EX/restore-elsewhere.yaml" >$W/member.yaml
    pinned $W/member.yaml "node$there" | k apply -f - >/dev/null
    running elsewhere && [ -n "$(in_pod elsewhere cat /data/log)" ] || fail 'not restored there'
    drop pod/elsewhere pvc/elsewhere
    drop volumegroupsnapshot/shop-1
    drop pod/shop pvc/shop-files pvc/shop-index
    within no_points || fail "$(points) recovery points are left"
    k delete storageclass/varve-offsite volumegroupsnapshotclass/varve-upload >/dev/null
}

test_pod_with_its_own_volume() {
    k apply -f "$EX/ephemeral.yaml" >/dev/null
    running scratch || return
    [ "$(in_pod scratch cat /scratch/file)" = work ] || fail 'not written'
    drop pod/scratch
}

# a volume that a person made
test_static_volume() {
    local n=1 handle
    on $n /opt/varve/bin/varve create "$STORE/kept" >/dev/null || fail 'not made'
    handle=$(on $n /opt/varve/bin/varve list "$STORE" --json | python3 -c '
import json, sys
all = json.load(sys.stdin)
print(next(all["uuid"] + "/" + v["uuid"] for v in all["volumes"] if v["name"] == "kept"))')
    sed "s,STORE-UUID/VOLUME-UUID,$handle,; s/\[NODE\]/[node$n]/" "$EX/static.yaml" | k apply -f - >/dev/null
    sed -n '/^kind: Pod$/,$p' "$EX/pvc.yaml" | sed '1i apiVersion: v1' | sed 's/name: writer$/name: static/; s/claimName: data/claimName: archive/' | k apply -f - >/dev/null
    running static || return
    [ "$(number static)" = $n ] || fail 'not on its node'
    within in_pod static test -s /data/greeting || fail 'not written'
    drop pod/static pvc/archive pv/archive
    on $n /opt/varve/bin/varve list "$STORE" | grep -q '^kept ' || fail 'it went with its claim'
    on $n /opt/varve/bin/varve delete "$STORE/kept" --now >/dev/null || fail 'not deleted'
}

# the example, with another program in the place of the database
test_database() {
    python3 - "$EX/database.yaml" <<'PY' | k apply -f - >/dev/null
import sys, yaml
docs = list(yaml.safe_load_all(open(sys.argv[1])))
spec = docs[1]["spec"]["template"]["spec"]
spec["terminationGracePeriodSeconds"] = 1
spec["containers"] = [c | {"image": "busybox:1.36", "command": ["sh", "-c", "mkdir -p $PGDATA && echo row >>$PGDATA/table && sync && sleep 1000000"], "env": [e for e in c["env"] if "value" in e]}
                      for c in spec["containers"]]
docs[1]["spec"]["volumeClaimTemplates"][0]["spec"]["resources"]["requests"]["storage"] = "1Gi"
yaml.safe_dump_all(docs, sys.stdout)
PY
    running database-0 || return
    within in_pod database-0 test -s /data/pg/table || fail 'its group cannot write'
    is pvc/data-database-0 '{.spec.accessModes[0]}' ReadWriteOncePod || fail 'not by one pod'
    k delete pod/database-0 >/dev/null
    running database-0 || return
    within sh -c '[ "$(kubectl exec database-0 -- grep -c row /data/pg/table)" = 2 ]' || fail 'it does not find its rows again'
    local pv
    pv=$(k get pvc/data-database-0 -o 'jsonpath={.spec.volumeName}')
    drop statefulset/database service/database
    within gone pod/database-0
    k patch "pv/$pv" -p '{"spec": {"persistentVolumeReclaimPolicy": "Delete"}}' >/dev/null # its class retains
    drop pvc/data-database-0
}

# --- what happens below a pod that works -------------------------------------------------------------------------------------

# busy NAME: a pod that appends and syncs without end; any error ends it. quiet NAME: was there none?
busy() {
    sed "s/name: writer$/name: $1/; s/name: data$/name: $1/; s/claimName: data/claimName: $1/" "$EX/pvc.yaml" | python3 -c '
import sys, yaml
docs = list(yaml.safe_load_all(sys.stdin))
docs[1]["spec"]["containers"][0]["command"] = ["sh", "-c", "exec 3>>/data/log; n=0; while :; do n=$((n+1)); echo $n >&3 && sync && echo $n >/data/last && [ $(cat /data/last) = $n ] || { echo failed at $n; exit 1; }; done"]
docs[1]["spec"]["restartPolicy"] = "Never"
docs[1]["spec"]["volumes"][0]["name"] = docs[1]["spec"]["containers"][0]["volumeMounts"][0]["name"] = "data"
yaml.safe_dump_all(docs, sys.stdout)' | k apply -f - >/dev/null
    running "$1"
}
lines() { in_pod "$1" sh -c 'wc -l </data/log'; }
moves() { # NAME: it has written since
    local before i
    before=$(lines "$1") || return 1
    for ((i = 0; i < NEEDS; i++)); do
        [ "$(lines "$1")" -le "$before" ] || return 0
        sleep 1
    done
    return 1
}
quiet() {
    is "pod/$1" '{.status.phase}' Running || fail "$1 has ended: $(k logs "$1")"
    moves "$1" || fail "$1 stands still"
    [ -z "$(k logs "$1")" ] || fail "$(k logs "$1")"
}
number() { k get "pod/$1" -o 'jsonpath={.spec.nodeName}' | tr -d a-z; }

test_driver_killed() {
    local n pid
    busy busy || return
    n=$(number busy)
    pid=$(on "$n" pgrep -f 'varve-csi --store')
    on "$n" kill -9 "$pid"
    within on "$n" sh -c "! kill -0 $pid 2>/dev/null"
    quiet busy
    k -n varve-system delete pod -l app.kubernetes.io/component=node --wait=true >/dev/null
    k -n varve-system rollout status daemonset/varve-node --timeout=${NEEDS}s >/dev/null || fail 'the DaemonSet does not come back'
    quiet busy
}

test_daemon_killed() {
    local n pid
    n=$(number busy)
    pid=$(on "$n" /opt/varve/bin/varve status /var/lib/varve/store --json | sed -n 's/.*"daemon_pid": \([0-9]*\).*/\1/p')
    on "$n" kill -9 "$pid" || fail "no daemon: $pid"
    quiet busy
    [ "$(on "$n" /opt/varve/bin/varve status /var/lib/varve/store --json | sed -n 's/.*"daemon_pid": \([0-9]*\).*/\1/p')" != "$pid" ] || fail 'the same daemon'
}

# another_image TAG: other programs, through the DaemonSet
another_image() {
    local i before
    before=$(on 1 readlink /opt/varve)
    python3 - "$1" $W/next.tar "$(readlink -f "$BUILD")" "$deploy" <<'PY' >"$logs/next.log" 2>&1 || { fail "$(cat "$logs/next.log")"; return; }
import pathlib, shutil, subprocess, sys
tag, out, build, deploy = sys.argv[1], sys.argv[2], pathlib.Path(sys.argv[3]), sys.argv[4]
share = pathlib.Path("/mnt/share-" + tag)
shutil.copytree(build / "image/share", share)
(share / "next").write_text(tag + ", another image\n")
subprocess.run([deploy + "/image.py", out, build / "image/bin", share, "localhost/varve:" + tag, tag], check=True)
PY
    for i in 1 2; do ctr_on $i images import $W/next.tar >/dev/null || fail "node$i: not imported"; done
    sed "s,localhost/varve:0[0-9.]*,localhost/varve:$1," "$deploy/varve.yaml" | k apply -f - >/dev/null
    k -n varve-system rollout status daemonset/varve-node --timeout=${NEEDS}s >/dev/null || fail "$(k -n varve-system get pods -o wide)"
    [ "$(on 1 readlink /opt/varve)" != "$before" ] || fail 'the programs of before'
}

test_upgraded() {
    local n
    n=$(number busy)
    another_image next
    [ "$(on "$n" sh -c 'ls -d /opt/varve-* | wc -l')" = 1 ] || fail "$(on "$n" ls /opt)"
    quiet busy
}

test_kubelet_restarted() {
    local n pid
    n=$(number busy)
    pid=$(on "$n" cat /run/kubelet.pid)
    on "$n" kill -9 "$pid"
    sleep 3
    within on "$n" sh -c "[ \$(cat /run/kubelet.pid) != $pid ]" || fail 'it does not come back'
    within in_pod busy true
    quiet busy
    drop pod/busy pvc/busy
}
