# What reading and waiting cost beside their time: memory, processors.

cpu_ticks() { awk '{ print $14 + $15 }' "/proc/$1/stat"; }

# A file that is read from one end to the other is in memory once, as the mount's, and not as its object's besides.
test_io_cold_reads_are_kept_once() {
    command -v fincore >/dev/null || skip "no fincore"
    own_store once
    head -c 100000000 /dev/urandom >"$point/f"
    cp "$point/f" "$scratch/once.want"
    "$VARVE" umount "$point"
    "$VARVE" mount "$store" "$point" >/dev/null
    drop_caches
    cmp "$point/f" "$scratch/once.want"
    object=$(find "$store/data" -size +90M | head -n 1)
    kept=$(fincore -b -n -o RES "$object")
    [ "$kept" -lt 30000000 ] || { echo "$kept bytes of the object are in memory"; return 1; }
    [ "$(fincore -b -n -o RES "$point/f")" -gt 60000000 ]
    cmp "$point/f" "$scratch/once.want"
}

# Readers that look for a request before they sleep: not when there is none, and not for long when they come seldom.
test_io_waiting_costs_little() {
    own_store spin
    pid=$(daemon_pid "$store")
    py "
for i in range(20000): os.statvfs('$point')
"
    sleep 0.2
    before=$(cpu_ticks "$pid")
    sleep 2
    idle=$(($(cpu_ticks "$pid") - before))
    [ "$idle" -le 10 ] || { echo "$idle of 200 ticks while nothing was asked"; return 1; }
    before=$(cpu_ticks "$pid")
    py "
end = time.time() + 2
while time.time() < end:
    os.statvfs('$point')
    time.sleep(0.001)
"
    seldom=$(($(cpu_ticks "$pid") - before))
    [ "$seldom" -le 60 ] || { echo "$seldom of 200 ticks for a request a millisecond"; return 1; }
}
