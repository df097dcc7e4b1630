#!/usr/bin/env python3
"""random_tier.py SCRATCH SEED STEPS: random work with the real programs on volumes whose bytes are released and come back: operations on files,
snapshots, backups, releases, recalls, deletions, prunes, restores, remounts; daemons, varve-tierd and command lines are killed by -9 in the
middle, the repository goes away and comes back. What must be read is kept beside in plain trees (random_real.py). Prints what it did by kind;
ends with 1 and a sentence where something is not as it must be."""
import errno, json, os, signal, subprocess, sys, threading

from random_real import World, Wrong, node, picture, same

RUN = 40  # operations on end


class Tiered(World):
    def __init__(self, top, seed):
        super().__init__(top, seed)
        self.fetched, self.seen = 0, {}

    # --- what was recalled ---
    def status(self, v):
        return json.loads(self.must("tier", "status", v.mount, "--json"))

    def note(self, v):
        """Fetches are counted from the opening of the store on, in one daemon's life."""
        now = self.status(v)["fetches"]
        was = self.seen.get(v.store, 0)
        self.fetched += now - was if now >= was else now
        self.seen[v.store] = now

    # --- the light ones ---
    def look(self, v):
        """A part of a file, or the whole of it, is what it was."""
        if not (path := v.there("file")):
            return
        size = os.path.getsize(f"{v.plain}/{path}")
        at = 0 if self.rng.random() < 0.5 else self.rng.randrange(size + 1)
        n = self.rng.choice([1, 4096, 100000, size + 1])
        with open(f"{v.plain}/{path}", "rb") as a, open(f"{v.mount}/{path}", "rb") as b:
            if os.pread(a.fileno(), n, at) != os.pread(b.fileno(), n, at):
                raise Wrong(f"{v.mount}/{path}: {n} bytes from {at} on are others")

    def punch(self, v):
        if not (path := v.there("file")) or not (size := os.path.getsize(f"{v.plain}/{path}")):
            return
        at, n = self.rng.randrange(size), 1 + self.rng.randrange(size)
        for top in (v.mount, v.plain):
            subprocess.run(["fallocate", "-p", "-o", str(at), "-l", str(n), f"{top}/{path}"], check=True)
        v.stamp(path)

    def one(self, v):
        kind = self.rng.random()
        if kind < 0.5:
            v.change()
        elif kind < 0.97:
            self.look(v)
        else:
            self.punch(v)

    def operations(self):
        v = self.rng.choice(self.volumes)
        for _ in range(min(self.run, self.left)):
            self.left -= 1
            self.one(v)
            self.count("operations")
        self.note(v)

    def killed(self):
        """The daemon dies while operations go on, perhaps while a job recalls or releases: nobody notices."""
        v = self.rng.choice(self.volumes)
        self.note(v)
        if self.rng.random() < 0.3:
            self.start("hydrate", v.mount, "--background").communicate()
        elif self.rng.random() < 0.4 and v.shots:
            self.start("tier", "release", v.mount, *self.repo(0), "--background").communicate()
        pid = json.loads(self.must("status", v.mount, "--json"))["daemon_pid"]
        timer = threading.Timer(self.rng.random() ** 2 * 0.05, lambda: os.kill(pid, signal.SIGKILL))
        timer.start()
        for _ in range(min(self.run, self.left)):
            self.left -= 1
            self.one(v)
            self.count("operations")
        timer.join()
        self.count("kill -9 of daemon")
        self.seen[v.store] = 0
        v.settle()

    # --- the others ---
    def release(self):
        v = self.rng.choice(self.volumes)
        v.settle()
        how = self.rng.choice([[], [], ["--larger", "100K"], ["dir"]])
        if how == ["dir"]:
            how = [p] if (p := v.there("any")) else []
        before = self.status(v)["remote_bytes"]
        who = self.rng.choice([None, None, None, "command", "tierd", "daemon"])
        args = ["tier", "release", v.mount, *self.repo(0), *how]
        p = self.start(*args, env=self.env_of(v.store))
        if who:
            self.kill(who, p, 0, v)
        rc, out, err = self.end(p, args)
        v.settle()
        expected = "no recovery point" in err or (how and f"{how[-1]}: " in err)  # a path that came since
        if rc and not who and not expected:
            raise Wrong(f"{' '.join(args)}: exit {rc}: {out}{err}")
        if who == "daemon":
            self.seen[v.store] = 0
        if rc == 0:
            self.count("releases")
            self.did["MiB released"] = self.did.get("MiB released", 0) + max(0, self.status(v)["remote_bytes"] - before) / 2**20
            if self.rng.random() < 0.7:
                self.remount(v)  # nothing of it is in the kernel's memory

    def recall(self):
        v = self.rng.choice(self.volumes)
        v.settle()
        self.note(v)
        who = self.rng.choice([None, None, "command", "tierd", "daemon"])
        path = self.rng.random() < 0.5 and v.there("any")
        args = ["tier", "recall", v.mount, path] if path else ["hydrate", v.mount]
        p = self.start(*args, env=self.env_of(v.store))
        if who:
            self.kill(who, p, 0, v)
        rc, out, err = self.end(p, args)
        v.settle()
        if rc and not who:
            raise Wrong(f"{' '.join(args)}: exit {rc}: {out}{err}")
        if who == "daemon":
            self.seen[v.store] = 0
        if rc == 0 and not path and self.status(v)["remote_bytes"]:
            raise Wrong(f"{v.mount}: recalled, and {self.status(v)['remote_bytes']} bytes are elsewhere")
        self.note(v)
        self.count("recalls of a path" if path else "recalls of a volume")

    def away(self):
        """The repository is not there for a while: what is elsewhere gives EIO, what is here is read, and all of it afterwards."""
        v = self.rng.choice(self.volumes)
        v.settle()
        if not self.status(v)["remote_bytes"]:
            return
        path = v.there("file")
        os.rename(self.repos[0], f"{self.repos[0]}.away")
        try:
            if path and (got := open(f"{v.mount}/{path}", "rb").read()) != open(f"{v.plain}/{path}", "rb").read():
                raise Wrong(f"{path}: {len(got)} bytes that are others, without a repository")
        except OSError as e:
            if e.errno != errno.EIO:
                raise Wrong(f"{path}: {e}")
            self.count("recalls that failed")
        finally:
            os.rename(f"{self.repos[0]}.away", self.repos[0])
        if path:
            same(node(f"{v.plain}/{path}"), node(f"{v.mount}/{path}"), path)
        self.count("repository away")

    def snapshots(self):
        """What a snapshot has of a released file is read through it."""
        v = self.rng.choice(self.volumes)
        if v.shots:
            shot = self.rng.choice(v.shots)
            is_ = picture(f"{v.mount}/.snapshots/{shot}")
            is_["."][-1] = [a for a in is_["."][-1] if not a[0].startswith("user.varve.")]
            same(picture(f"{self.dir}/{shot}"), is_, f"{v.mount}@{shot}")
            self.count("snapshots read")

    def remount(self, v=None):
        v = v or self.rng.choice(self.volumes)
        v.settle()
        self.note(v)
        self.must("umount", v.mount)
        v.up()
        self.seen[v.store] = self.status(v)["fetches"]
        if self.rng.random() < 0.5:
            same(picture(v.plain), picture(v.mount), v.mount)
        self.note(v)
        self.count("mounted anew")

    def step(self):
        heavy = [self.backup, self.release, self.recall, self.killed, self.prune, self.delete, self.restore, self.remount, self.snapshots,
                 self.away]
        if self.rng.random() < self.light:
            self.operations()
        else:
            self.left -= 1
            self.rng.choices(heavy, [24, 40, 4, 8, 5, 4, 4, 20, 6, 2])[0]()
            self.tidy()

    def why(self):
        said = [self.start("events", v.mount).communicate() for v in (self.volumes[0], self.volumes[2])]
        return "\n".join(line for out, err in said for line in (out + err).splitlines()[-12:])

    def begin(self):
        """Each volume has something, and a part of it lies elsewhere."""
        for v in self.volumes:
            for _ in range(60 if self.left < 2000 else 200):
                v.change()
            shot = v.shoot()
            self.must("backup", "run", v.mount, "--snap", shot, "--to", *self.repo(0), env=self.env_of(v.store))
            self.must("tier", "release", v.mount, *self.repo(0))
            self.must("umount", v.mount)
            v.up()
        self.reconcile(0)

    def work(self, steps):
        self.left, self.light, self.run = steps, 0.6, RUN if steps > 2000 else RUN // 4
        self.begin()
        while self.left > 0:
            self.step()


def main():
    top, seed, steps = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    os.umask(0o022)
    w = Tiered(top, seed)
    try:
        w.work(steps)
        w.judge()
    except (Wrong, OSError) as e:
        print(f"seed {seed}, {w.left} steps before the end: {type(e).__name__} {e}")
        print(w.why())
        return 1
    finally:
        w.down()
        w.did["recalls"] = w.fetched
        print("    " + ", ".join(f"{n:.0f} {what}" for what, n in sorted(w.did.items())), getattr(w, "last_error", "").strip())
    return 0


if __name__ == "__main__":
    sys.exit(main())
