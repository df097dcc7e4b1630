# Sourced: a store, its daemon, and varve-csi on it. driver_begin [OPTION...]: gives $store, $sock, $csi_pid, $serve_pid; driver_stop,
# driver_start: the driver alone; driver_end: both; driver_left: 1 and a word where volumes, facts or mounts are left over.
CSI=${CSI:-$(readlink -f "$BUILD")/varve-csi}
csi_pid='' serve_pid=''

driver_start() {
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

driver_begin() {
    store=$scratch/store sock=$scratch/csi.sock
    "$VARVE" create "$store" >/dev/null || return 1
    "$VARVE" serve "$store" >"$scratch/serve.log" 2>&1 &
    serve_pid=$!
    for ((i = 0; i < 500; i++)); do
        [ -S "$store/sock" ] && break
        sleep 0.02
    done
    driver_start "$@"
}

driver_stop() {
    [ -z "$csi_pid" ] || { kill "$csi_pid" && wait "$csi_pid"; } 2>/dev/null
    csi_pid=''
}

driver_end() {
    driver_stop
    [ -z "$serve_pid" ] || { kill -INT "$serve_pid" && wait "$serve_pid"; } 2>/dev/null
    serve_pid=''
}

driver_left() {
    local left
    left=$("$VARVE" list "$store" | sed 1d | awk '$1 != "main"')
    left=$left$(ls "$store/csi" 2>/dev/null)$(awk -v dir="$scratch/" 'index($2, dir) == 1 { print $2 }' /proc/self/mounts)
    [ -z "$left" ] || { say "left over: $left"; return 1; }
}
