# Sourced by tests/tier/s3.sh: S3 servers that an ordinary package client builds once into $VARVE_CACHE, on loopback; and radosgw of the
# cluster that tests/tier/ceph.sh runs ($VARVE_TEST_CEPH_CONF).
# s3_get NAME: builds it; prints why not and returns 1. s3_start NAME DIR [TLS_DIR [PORT]]: runs it; sets s3_pid, s3_endpoint. s3_stop ends it.
# s3_environment: their keys and no proxy. s3_bucket NAME: made in what was started last. For cases, which are skipped where there is none:
# s3_case_get, then s3_case_start DIR BUCKET. s3_proxy_start DIR: before what was started last a proxy that does the harm which DIR/fault
# asks for (s3_proxy.py); sets s3_proxy_endpoint, s3_proxy_pid. s3_proxy_stop ends it.
VERSITYGW=github.com/versity/versitygw/cmd/versitygw@v1.8.0
MINIO=github.com/minio/minio@v0.0.0-20260212201848-7aac2a2c5b7c
GO_MIN=1.25
s3_bin=$VARVE_CACHE/s3/bin
s3_pid=''

s3_get() {
    local package
    case $1 in
    versitygw) package=$VERSITYGW ;;
    minio) package=$MINIO ;;
    radosgw)
        [ -n "${VARVE_TEST_CEPH_CONF:-}" ] && return 0
        say 'radosgw is for make check-ceph'
        return 1
        ;;
    *) say "no server $1 is known"; return 1 ;;
    esac
    [ ! -x "$s3_bin/$1-${package##*@}" ] || return 0
    mkdir -p "$s3_bin"
    (flock 8 && s3_build "$1" "$package") 8>"$s3_bin/.lock"
}

s3_build() { # NAME PACKAGE; another suite may have built it meanwhile
    local go package=$2
    [ ! -x "$s3_bin/$1-${package##*@}" ] || return 0
    go=$(go env GOVERSION 2>/dev/null)
    at_least "${go#go}" $GO_MIN || { say "the S3 server $1 needs Go >= $GO_MIN; here: ${go:-none}"; return 1; }
    say "building the S3 server $1 ${package##*@} (once)"
    GOBIN=$s3_bin GOFLAGS='-buildvcs=false -p=2' CGO_ENABLED=0 nice go install -trimpath -ldflags='-s -w' "$package" >"$s3_bin/$1.log" 2>&1 \
        || { say "the S3 server $1 cannot be built: $(tail -n 1 "$s3_bin/$1.log")"; return 1; }
    mv "$s3_bin/$1" "$s3_bin/$1-${package##*@}"
}

s3_environment() {
    unset ${!AWS_*} http_proxy https_proxy HTTP_PROXY HTTPS_PROXY all_proxy ALL_PROXY
    export AWS_ACCESS_KEY_ID=AKTESTAKTEST AWS_SECRET_ACCESS_KEY=SKTESTSKTESTSKTEST AWS_EC2_METADATA_DISABLED=true
}

free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

# wait_port PORT PID
wait_port() {
    local i
    for ((i = 0; i < 600; i++)); do
        (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null && return 0
        kill -0 "$2" 2>/dev/null || return 1
        sleep 0.05
    done
    return 1
}

s3_start() {
    local port scheme=http more=() tls=${3:-}
    port=${4:-$(free_port)}
    mkdir -p "$2/data"
    case $1 in
    versitygw)
        mkdir -p "$2/versions"
        [ -z "$tls" ] || more=(--cert "$tls/server.pem" --key "$tls/server.key")
        ROOT_ACCESS_KEY=$AWS_ACCESS_KEY_ID ROOT_SECRET_KEY=$AWS_SECRET_ACCESS_KEY VGW_VIRTUAL_DOMAIN=localhost:$port \
            "$s3_bin/versitygw-${VERSITYGW##*@}" --port "127.0.0.1:$port" --quiet --keep-alive "${more[@]}" \
            posix --versioning-dir "$2/versions" "$2/data" >"$2/log" 2>&1 &
        ;;
    minio)
        if [ -n "$tls" ]; then
            mkdir -p "$2/certs" && cp "$tls/server.pem" "$2/certs/public.crt" && cp "$tls/server.key" "$2/certs/private.key"
        fi
        mkdir -p "$2/certs"
        MINIO_ROOT_USER=$AWS_ACCESS_KEY_ID MINIO_ROOT_PASSWORD=$AWS_SECRET_ACCESS_KEY MINIO_UPDATE=off MINIO_BROWSER=off \
            MINIO_FS_OSYNC=off MINIO_DOMAIN=localhost "$s3_bin/minio-${MINIO##*@}" server --quiet --certs-dir "$2/certs" \
            --address "127.0.0.1:$port" "$2/data" >"$2/log" 2>&1 &
        ;;
    radosgw)
        more="endpoint=127.0.0.1:$port"
        [ -z "$tls" ] || more="ssl_endpoint=127.0.0.1:$port ssl_certificate=$tls/server.pem ssl_private_key=$tls/server.key"
        nice -n 10 radosgw -f -c "$VARVE_TEST_CEPH_CONF" -n client.rgw --rgw-frontends "beast ${more[*]}" >"$2/log" 2>&1 &
        ;;
    esac
    s3_pid=$!
    [ -z "$tls" ] || scheme=https
    s3_endpoint=$scheme://127.0.0.1:$port
    wait_port "$port" $s3_pid || { say "the server $1 does not start: $(tail -n 3 "$2/log")"; return 1; }
}

s3_bucket() { # the server may take a moment until it answers; what it says is in $scratch/made
    local i
    for ((i = 0; i < 100; i++)); do
        "$here/s3_tool.py" "$s3_endpoint" PUT "/$1" >"$scratch/made" 2>&1 && break
        sleep 0.1
    done
}

s3_case_get() {
    s3_environment
    s3_get versitygw >"$scratch/why" 2>&1 || { skip=$(tail -n 1 "$scratch/why"); return 1; }
}
s3_case_start() {
    s3_start versitygw "$1" || { skip='versitygw does not start here'; return 1; }
    s3_bucket "$2"
}

s3_stop() {
    # radosgw waits for its clients when it is asked; what it has is in the cluster
    [ -z "$s3_pid" ] || { kill -s "$([ "${SERVER:-}" = radosgw ] && echo KILL || echo TERM)" "$s3_pid" 2>/dev/null; wait "$s3_pid" 2>/dev/null; }
    s3_pid=''
}

s3_proxy_pid=''
s3_proxy_start() { # it ends when its input does, and the input is ours
    local port
    mkdir -p "$1" && mkfifo "$1/in" "$1/out" || return 1
    "$here/s3_proxy.py" "${s3_endpoint##*:}" "$1/fault" <"$1/in" >"$1/out" 2>"$1/proxy.err" &
    s3_proxy_pid=$!
    exec 7>"$1/in"
    read -r port <"$1/out" || { say "the proxy does not start: $(cat "$1/proxy.err")"; return 1; }
    s3_proxy_endpoint=http://127.0.0.1:$port
}
s3_proxy_stop() {
    exec 7>&-
    [ -z "$s3_proxy_pid" ] || { kill "$s3_proxy_pid" && wait "$s3_proxy_pid"; } 2>/dev/null # daemons have its input, too
    s3_proxy_pid=''
}
