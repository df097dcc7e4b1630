# Profiles and the machine's configuration.

test_profiles_are_kept_shown_and_given() {
    local s=$case_dir/s
    export XDG_CONFIG_HOME=$case_dir/conf
    ok varve profile list
    has 'database'
    refused 1 'there is none of this name or id; varve profile list' varve profile show nobody
    printf 'name = "own"; provisioning: { size = "64M"; }; colour = "green";\nsnapshots = ( { every = "1h"; keep = 3; } );\n' >"$case_dir/p"
    ok varve profile check "$case_dir/p"
    ok varve profile add "$case_dir/p"
    refused 1 'exists already; --replace' varve profile add "$case_dir/p"
    ok varve profile add "$case_dir/p" --replace --name other
    ok varve profile show own
    has 'colour'
    has 'kept'
    ok varve create "$s" --profile own
    ok varve create "$s/big" --profile own --size 1G
    ok varve list "$s" --json
    same "$(json '[v["size_limit_bytes"] for v in d["volumes"]]')" '[1073741824, 67108864]'
    ok varve profile get "$s" --json
    same "$(json 'd["profile"]["name"]')" own
    same "$(json 'd["profile"]["schedules"][0]["when"]')" 'every 1h'
    same "$(json '[t["acted_on"] for t in d["terms"] if t["term"] == "colour"]')" '[False]'
    ok varve profile set "$s" own
    has 'so have 1 others'
    ok varve status "$s"
    has 'next run'
    ok varve profile set "$s" none
    ok varve profile get "$s"
    has 'no profile'
    ok varve profile remove own
    ok varve profile get "$s/big"
    has 'own'
    refused 1 'is built in' varve profile remove database
    ok varve check "$s"
}

test_profiles_go_out_as_json_and_come_back() {
    export XDG_CONFIG_HOME=$case_dir/conf
    ok varve profile export database
    printf '%s' "$out" >"$case_dir/j"
    ok varve profile import "$case_dir/j" --name back
    ok varve profile export back
    same "$(printf '%s' "$out" | sed 's/"back"/"database"/')" "$(cat "$case_dir/j")"
    run varve profile export database --opensds
    case $err in *'no place for it: retention.hourly'*) ;; *) fail "what is left out is not said: $err" ;; esac
    printf '{"snapshotProperties":{"schedule":{"occurrence":"Daily"},"topology":{"bucket":"b"},"retention":{"number":2}}}' >"$case_dir/j"
    refused 1 'it has no name; give --name' varve profile import "$case_dir/j"
    ok varve profile import "$case_dir/j" --name sds
    ok varve profile show sds --json
    same "$(json 'd["backups"][0]["to"]')" b
    printf 'snapshots = ( { every = "1h"; at = "02:30"; keep = 1; } );' >"$case_dir/p"
    refused 1 'every and at contradict each other' varve profile check "$case_dir/p"
}

test_the_configuration_is_tried_shown_and_taken_up() {
    local s=$case_dir/s m=$case_dir/m f=$case_dir/varve.conf
    printf 'limits: {\n  client = 9;\n};\n' >"$f"
    refused 1 "$f: line 2: unknown setting \"client\"; did you mean \"clients\"?" varve config check "$f"
    refused 1 'line 2: unknown setting' varve --config "$f" create "$s"
    printf 'stores = ( { path = "%s"; flush_interval = "9s"; } );' "$s" >"$f"
    ok varve config check "$f"
    ok varve --config "$f" mount "$s" "$m" --create
    ok varve --config "$f" config show "$s" --json
    same "$(json '[x["value"] for x in d["settings"] if x["key"] == "flush_interval"]')" "['\"9s\"']"
    printf 'limits: { disk_low = 7; clients = 9; };' >"$f"
    ok varve config reload "$m"
    has 'limits.disk_low: 7'
    has 'limits.clients: 9; needs a restart'
    printf 'limits: { disk_low = 70; };' >"$f"
    refused 1 'disk_low is out of range; it may be 1 to 50' varve config reload "$m"
    # a daemon that takes over goes on without it
    kill -9 "$(varve status "$m" --json | python3 -c 'import json,sys; print(json.load(sys.stdin)["daemon_pid"])')"
    ok touch "$m/x"
    ok varve status "$m"
    [ -r "$m/.snapshots/.control/profile" ] || fail 'no control file profile'
    ok varve umount "$m"
}
