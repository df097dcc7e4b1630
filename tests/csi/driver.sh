# Sourced: a store, its daemon, and varve-csi on it.
# serve_start, serve_end: the daemon of $store, by $serve_pid. driver_begin [OPTION...]: all of it: gives $store, $sock, $csi_pid.
# driver_end: ends it. driver_left: 1 and a word where volumes, facts or mounts are left over.
CSI=${CSI:-$(readlink -f "$BUILD")/varve-csi}
csi_pid='' serve_pid='' store=$scratch/store sock=$scratch/csi.sock

serve_start() {
    "$VARVE" serve "$store" >>"$scratch/serve.log" 2>&1 &
    serve_pid=$!
    for ((i = 0; i < 500; i++)); do
        "$VARVE" status "$store" --json 2>/dev/null | grep -q '"daemon_pid": [0-9]' && return 0
        sleep 0.02
    done
    say "the store is not served: $(tail -n 3 "$scratch/serve.log")"
    return 1
}

serve_end() {
    [ -z "$serve_pid" ] || { kill -INT "$serve_pid" && wait "$serve_pid"; } 2>/dev/null
    serve_pid=''
}

driver_begin() {
    "$VARVE" create "$store" >/dev/null && serve_start || return 1
    "$CSI" --store "$store" --endpoint "unix://$sock" --node-id node-1 "$@" >>"$scratch/csi.log" 2>&1 &
    csi_pid=$!
    for ((i = 0; i < 500; i++)); do
        [ -S "$sock" ] && return 0
        kill -0 "$csi_pid" 2>/dev/null || break
        sleep 0.02
    done
    say "varve-csi does not start: $(tail -n 3 "$scratch/csi.log")"
    return 1
}

driver_end() {
    [ -z "$csi_pid" ] || { kill "$csi_pid" && wait "$csi_pid"; } 2>/dev/null
    csi_pid=''
    serve_end
}

driver_left() {
    local left
    for ((i = 0; i < 200; i++)); do # what is retired goes behind
        left=$("$VARVE" list "$store" | sed 1d | awk '$1 != "main"')
        left=$left$(ls "$store/csi" 2>/dev/null)$(awk -v dir="$scratch/" 'index($2, dir) == 1 { print $2 }' /proc/self/mounts)
        [ -n "$left" ] || return 0
        sleep 0.05
    done
    say "left over: $left"
    return 1
}
