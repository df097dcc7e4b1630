# Help, usage, doctor, check, dump, exit codes.

test_every_command_has_help_and_a_page() {
    local verb page
    for verb in create mount umount serve list status 'snapshot create' 'snapshot group' 'snapshot delete' 'snapshot rename' 'snapshot list' \
        'snapshot show' 'snapshot ranges' 'snapshot hold' 'snapshot release' 'snapshot label' 'snapshot expire' diff rollback clone resize rename \
        delete undelete 'job list' 'job wait' 'job cancel' events upgrade doctor check hydrate scrub dump 'repo init' \
        'repo add' 'repo remove' 'repo list' 'repo show' 'repo test' 'repo verify' 'repo prune' 'repo transition' 'repo unlock' 'repo pins' 'repo forget' 'repo domains' 'repo shred' 'repo key' \
        'backup run' 'backup list' 'backup show' 'backup delete' 'backup undelete' 'backup owner' 'backup expire' 'backup copy' 'backup status' \
        'backup diff' 'backup export' 'backup import' restore export 'tier release' 'tier status' 'tier pin' 'tier unpin' 'tier run' 'tier recall' \
        'migrate plan' 'migrate run' 'migrate status' 'migrate cancel' \
        'profile list' 'profile show' 'profile add' 'profile remove' 'profile import' 'profile export' 'profile check' 'profile set' \
        'profile get' 'config check' 'config show' 'config reload'; do
        # shellcheck disable=SC2086
        ok varve $verb --help
        has "usage: varve $verb"
        page=$here/../../docs/man/varve-${verb%% *}.1
        [ -f "$page" ] || fail "no page for $verb"
        for option in $(printf '%s' "$out" | grep -oE '^  --[a-z-]+' | sed 's/^  --//'); do
            [ "$option" = json ] || grep -qF -- "\-\-$option" "$page" || fail "$page lacks --$option"
        done
    done
    ok varve --help
    has 'varve rollback TARGET NAME'
    ok varve snapshot --help
    has 'varve snapshot expire'
}

test_pages_are_well_formed() {
    command -v mandoc >/dev/null || { skip='no mandoc'; return; }
    for page in "$here"/../../docs/man/*.[1-8]; do
        ok mandoc -T lint -W warning "$page"
    done
}

test_usage_errors_have_exit_code_2() {
    refused 2 'there is no command "craete"; did you mean "create"?' varve craete x
    refused 2 'what to do is missing; one of create' varve snapshot
    refused 2 'TARGET is missing' varve status
    refused 2 'NAME is missing' varve rollback x
    refused 2 'one word too many' varve list x y
    refused 2 'there is no option --sise; did you mean --size?' varve create x --sise 5
    run varve
    same $rc 2
}

test_doctor_says_what_is_there() {
    run varve doctor "$case_dir"
    has '/dev/fuse'
    has 'libfuse'
    has 'fusermount3'
    has 'user_allow_other'
    has 'sparse files'
    run varve doctor --json
    json '[c["state"] for c in d["checks"] if c["name"] == "kernel"]' >/dev/null
    same "$(json 'd["works"]')" "$([ $rc -eq 0 ] && echo true || echo false)"
}

test_check_is_clean_then_finds_then_repairs() {
    local s=$case_dir/s m=$case_dir/m
    ok varve mount "$s" "$m" --create
    head -c 300000 /dev/urandom >"$m/f"
    ok varve snapshot create "$m" a --sync
    ok varve check "$s"
    has '0 problems, 0 repaired: clean'
    refused 1 'is in use; umount its volumes, then repair' varve check "$s" --repair
    ok varve umount "$m"
    ok varve check "$s" --json
    same "$(json 'd["verdict"]')" clean
    rm "$(find "$s/data" -type f | head -n 1)"
    run varve check "$s"
    same $rc 4
    has 'damaged'
}

test_umount_waits_for_no_job() {
    local s=$case_dir/s m=$case_dir/m
    ok varve mount "$s" "$m" --create
    head -c 20000000 /dev/urandom >"$m/f"
    ok varve scrub "$m" --rate 10K --background
    ok timeout 20 "$VARVE" umount "$m"
    ok varve mount "$s" "$m"
    ok varve job list "$m"
    has running
    ok varve job cancel "$m" 1
    ok varve umount "$m"
    ok varve check "$s"
}

test_scrub_of_a_store_in_use_and_of_one_at_rest() {
    local s=$case_dir/s m=$case_dir/m
    ok varve mount "$s" "$m" --create
    head -c 300000 /dev/urandom >"$m/f"
    ok varve scrub "$m"
    has 'clean: '
    ok varve scrub "$s" --json --rate 100M
    same "$(json 'd["verdict"]')" clean
    same "$(json 'd["job"]["verb"]')" scrub
    ok varve scrub "$m" --rate 1K --background
    has 'varve job list shows how far it is'
    ok varve job cancel "$m" "$(varve job list "$m" --json | python3 -c 'import json,sys; print(json.load(sys.stdin)["jobs"][-1]["id"])')"
    echo 'scrub rate=100M' >"$m/.snapshots/.control/jobs" || fail 'no scrub by control file'
    ok varve events "$m"
    has scrub-done
    ok varve umount "$m"
    ok varve scrub "$s"
    has 'clean: '
    rm "$(find "$s/data" -type f | head -n 1)"
    run varve scrub "$s"
    same $rc 4
    has 'cannot be read'
}

test_dump_prints_what_is_there() {
    local s=$case_dir/s m=$case_dir/m
    ok varve mount "$s" "$m" --create
    head -c 300000 /dev/urandom >"$m/f"
    ok varve umount "$m"
    ok varve dump "$s" version
    has 'format=1'
    ok varve dump "$s" tables
    ok varve dump "$s" journal
    ok varve dump "$s" inode main 1
    refused 2 'is not understood' varve dump "$s" nonsense
}

test_output_that_cannot_be_written_is_a_failure() {
    ok varve create "$case_dir/s"
    varve list "$case_dir/s" >/dev/full 2>"$scratch/err" && fail 'exit 0 with a full output'
    grep -q 'standard output' "$scratch/err" || fail "$(cat "$scratch/err")"
}

# In a mount namespace where everybody may open /dev/fuse, as Debian's udev has it.
test_an_ordinary_user_has_a_store_of_their_own() {
    [ "$(id -u)" = 0 ] || { skip='needs root to become somebody'; return; }
    command -v fusermount3 >/dev/null || { skip='no fusermount3'; return; }
    mknod "$case_dir/fuse" c 10 229 2>/dev/null || { skip='no device nodes here'; return; }
    chmod 666 "$case_dir/fuse"
    chmod 755 "$case_dir"
    install -m 755 "$VARVE" "$case_dir/varve" # the build may lie where only root can go
    mkdir "$case_dir/home" "$case_dir/home/m"
    chown 65534:65534 "$case_dir/home" "$case_dir/home/m"
    ok unshare -m sh -euc '
        mount --bind "$1/fuse" /dev/fuse
        cd "$1/home"
        exec setpriv --reuid=65534 --regid=65534 --clear-groups sh -euc "
            $2 create s
            $2 snapshot create s a
            $2 mount s m
            $2 snapshot create m b
            echo c >m/file
            mkdir m/.snapshots/c
            ls m/.snapshots
            cat m/.snapshots/c/file
            $2 umount m
            $2 check s"' sh "$case_dir" "$case_dir/varve"
    has $'a\nb\nc\nc\n'
    has 'clean'
}
