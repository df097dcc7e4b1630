#!/usr/bin/env python3
"""random_real.py SCRATCH SEED STEPS: random work with the real programs on three mounted volumes of two stores and two repositories in
directories; daemon, varve-tierd and command lines are killed by -9 in the middle. What must come back is kept beside in plain trees to
which the same was done. Prints what it did by kind; ends with 1 and a sentence where something is not as it must be."""
import hashlib, json, os, random, shutil, signal, subprocess, sys, time

VARVE, TIERD = os.environ["VARVE"], os.environ["VARVE_TIERD"]
KEPT = 10  # recovery points of a repository, before some are deleted


class Wrong(Exception):
    pass


def node(path):
    st = os.lstat(path)
    kind = st.st_mode & 0o170000
    what = [oct(st.st_mode), st.st_uid, st.st_gid, st.st_mtime_ns]
    if kind != 0o040000:
        what += [st.st_nlink, st.st_size]
    if kind == 0o120000:
        what.append(os.readlink(path))
    if kind == 0o100000:
        what.append(hashlib.sha256(open(path, "rb").read()).hexdigest())
    if kind in (0o100000, 0o040000):
        what.append(sorted((n, os.getxattr(path, n)) for n in os.listxattr(path)))
    return what


def picture(top):
    """All of a tree but what filesystems decide by themselves."""
    all_ = {".": node(top)}
    for at, dirs, files in os.walk(top):
        for name in dirs + files:
            path = os.path.join(at, name)
            all_[os.path.relpath(path, top)] = node(path)
    return all_


def same(a, b, why):
    if a == b:
        return
    for name in sorted(a.keys() | b.keys()):
        if a.get(name) != b.get(name):
            raise Wrong(f"{why}: {name} is {b.get(name)}, was {a.get(name)}")


class Volume:
    def __init__(self, world, store, name, at):
        self.world, self.store, self.name = world, store, name
        self.mount, self.plain = f"{world.dir}/m{at}", f"{world.dir}/plain{at}"
        os.makedirs(self.mount, exist_ok=True)
        os.mkdir(self.plain, 0o755)
        self.shots = []  # that the volume has

    def up(self):
        self.world.must("mount", f"{self.store}/{self.name}", self.mount, "--create", env=self.world.env_of(self.store))

    # --- changes, to both ---
    def both(self, do, *paths):
        for top in (self.mount, self.plain):
            do(*(os.path.join(top, p) for p in paths))

    def stamp(self, *paths):
        for p in paths:
            self.world.clock += 7919000001
            ns = self.world.clock
            self.both(lambda x: os.utime(x, ns=(ns, ns), follow_symlinks=False), p)

    def there(self, want):
        found = []
        for at, dirs, files in os.walk(self.plain):
            for n in sorted(dirs if want == "dir" else files if want == "file" else dirs + files):
                p = os.path.join(at, n)
                if want != "file" or (os.path.isfile(p) and not os.path.islink(p)):
                    found.append(os.path.relpath(p, self.plain))
        return self.world.rng.choice(sorted(found)) if found else None

    def fresh(self):
        top = self.world.rng.choice([".", self.there("dir") or "."])
        if top.count("/") > 2:
            top = "."
        return os.path.normpath(f"{top}/n{self.world.rng.randrange(30)}")

    def change(self):
        rng = self.world.rng
        kind = rng.choice(["write"] * 5 + ["cut", "remove", "remove", "dir", "rename", "link", "symlink", "attr", "mode"])
        path = self.there("file") if kind in ("cut", "link", "mode") or (kind == "write" and rng.random() < 0.6) else self.fresh()
        if path is None:
            return
        old = os.path.lexists(f"{self.plain}/{path}")
        up = os.path.dirname(path) or "."
        if kind == "write" and (not old or os.path.isfile(f"{self.plain}/{path}")) and not os.path.islink(f"{self.plain}/{path}"):
            data = random.Random(rng.randrange(200)).randbytes(rng.choice([10, 3000, 40000, 400000]))
            at = rng.choice([0, rng.randrange(5000), rng.randrange(500000)])

            def write(p):
                fd = os.open(p, os.O_WRONLY | os.O_CREAT, 0o644)
                os.pwrite(fd, data, at)
                os.close(fd)

            self.both(write, path)
            self.stamp(path, *([] if old else [up]))
        elif kind == "cut":
            size = rng.choice([0, rng.randrange(6000), rng.randrange(600000)])
            self.both(lambda p: os.truncate(p, size), path)
            self.stamp(path)
        elif kind == "mode":
            mode, uid = 0o600 + rng.randrange(64), rng.randrange(5) * 100
            self.both(lambda p: (os.chown(p, uid, uid + 1), os.chmod(p, mode)), path)
        elif kind == "remove" and (gone := self.there("any")):
            if os.path.isdir(f"{self.plain}/{gone}") and not os.path.islink(f"{self.plain}/{gone}"):
                self.both(shutil.rmtree, gone)
            else:
                self.both(os.unlink, gone)
            self.stamp(os.path.dirname(gone) or ".")
        elif kind == "dir" and not old:
            self.both(os.mkdir, path)
            self.both(lambda p: os.chmod(p, 0o755), path)
            self.stamp(path, up)
        elif kind == "symlink" and not old:
            self.both(lambda p: os.symlink(f"to/{len(path)}", p), path)
            self.stamp(path, up)
        elif kind == "rename" and not old and (was := self.there("any")) and not f"{path}/".startswith(f"{was}/"):
            self.both(os.rename, was, path)
            self.stamp(os.path.dirname(was) or ".", up)
        elif kind == "link" and not os.path.lexists(f"{self.plain}/{(to := self.fresh())}"):
            self.both(os.link, path, to)
            self.stamp(os.path.dirname(to) or ".")
        elif kind == "attr" and (path := self.there("file")):
            value = random.Random(rng.randrange(50)).randbytes(rng.choice([5, 700, 3000]))
            self.both(lambda p: os.setxattr(p, "user.a", value), path)

    def shoot(self):
        w = self.world
        for _ in range(w.rng.randrange(1, 12)):
            self.change()
        shot = f"s{w.next()}"
        w.must("snapshot", "create", self.mount, shot)
        subprocess.run(["cp", "-a", self.plain, f"{w.dir}/{shot}"], check=True)
        self.shots.append(shot)
        if len(self.shots) > 4:
            w.must("snapshot", "delete", self.mount, self.shots.pop(w.rng.randrange(3)))
        return shot

    def settle(self):
        """No job goes on: one that its daemon did not survive is begun anew by the next one."""
        for _ in range(600):
            jobs = json.loads(self.world.must("job", "list", self.mount, "--json"))["jobs"]
            if not any(j["state"] in ("waiting", "running") for j in jobs):
                return
            time.sleep(0.05)
        raise Wrong(f"{self.mount}: a job does not end: {jobs}")


class World:
    def __init__(self, top, seed):
        self.dir, self.rng, self.clock, self.n = f"{top}/random", random.Random(seed), 10**18, 0
        self.did = {}
        os.makedirs(self.dir)
        self.env = dict(os.environ, XDG_CONFIG_HOME=f"{self.dir}/config", XDG_CACHE_HOME=f"{self.dir}/cache")
        self.repos = [f"{self.dir}/r0", f"{self.dir}/r1"]
        self.points = [{}, {}]  # id: snapshot
        for r in self.repos:
            open(f"{r}.key", "wb").write(self.rng.randbytes(64))
            self.must("repo", "init", f"dir:{r}", "--key-file", f"{r}.key")
        a, b = f"{self.dir}/a", f"{self.dir}/b"
        self.volumes = [Volume(self, a, "main", 0), Volume(self, a, "second", 1), Volume(self, b, "main", 2)]
        for v in self.volumes:
            v.up()
            v.stamp(".")

    def env_of(self, store):
        return dict(self.env, XDG_CACHE_HOME=f"{store}.cache")  # a machine of its own

    def next(self):
        self.n += 1
        return self.n

    def count(self, what):
        self.did[what] = self.did.get(what, 0) + 1

    # --- programs ---
    def start(self, *args, env=None):
        return subprocess.Popen([VARVE, *args], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                env=env or self.env, text=True)

    def end(self, p, args):
        try:
            out, err = p.communicate(timeout=120)
        except subprocess.TimeoutExpired:
            p.kill()
            raise Wrong(f"{' '.join(args)}: hangs")
        return p.returncode, out, err

    def must(self, *args, env=None):
        rc, out, err = self.end(self.start(*args, env=env), args)
        if rc:
            raise Wrong(f"{' '.join(args)}: exit {rc}: {out}{err}")
        return out

    def repo(self, k):
        return f"dir:{self.repos[k]}", "--key-file", f"{self.repos[k]}.key"

    def tierds(self, k):
        found = []
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                if open(f"/proc/{pid}/cmdline", "rb").read().split(b"\0")[1:2] == [f"dir:{self.repos[k]}".encode()] \
                        and os.readlink(f"/proc/{pid}/exe") == TIERD:
                    found.append(int(pid))
            except OSError:
                pass
        return found

    def kill(self, who, p, k, volume):
        """Sooner or later; nothing where it is through already."""
        time.sleep(self.rng.random() ** 2 * 0.25)
        pids = []
        if who == "command":
            pids = [p.pid] if p.poll() is None else []
        elif who == "tierd":
            pids = self.tierds(k)
        elif p.poll() is None:
            pids = [json.loads(self.must("status", volume.mount, "--json"))["daemon_pid"]]
        for pid in pids:
            try:
                os.kill(pid, signal.SIGKILL)
                self.count(f"kill -9 of {who}")
            except ProcessLookupError:
                pass

    # --- what must be in a repository ---
    def reconcile(self, k):
        out = self.must("backup", "list", *self.repo(k), "--json")
        have = {p["id"]: p["snapshot"] for p in json.loads(out)["recovery_points"]}
        for gone in self.points[k].keys() - have.keys():
            raise Wrong(f"repository {k}: recovery point {gone[:12]} was acknowledged and is gone")
        for id_, shot in have.items():
            if not os.path.isdir(f"{self.dir}/{shot}"):
                raise Wrong(f"repository {k}: recovery point {id_[:12]} of {shot}: nobody made it")
        self.points[k] = have

    def tidy(self):
        """Plain copies that nobody needs."""
        needed = {s for v in self.volumes for s in v.shots} | {s for p in self.points for s in p.values()}
        for name in os.listdir(self.dir):
            if name[0] == "s" and name[1:].isdigit() and name not in needed:
                shutil.rmtree(f"{self.dir}/{name}")
        for k in (0, 1):
            while len(self.points[k]) > KEPT:
                self.delete(k)

    # --- steps ---
    def backup(self):
        v = self.rng.choice(self.volumes)
        shot = v.shoot() if self.rng.random() < 0.9 or not v.shots else self.rng.choice(v.shots)
        args = ["backup", "run", v.mount, "--snap", shot, "--to", *self.repo(0), "--json"]
        if self.rng.random() < 0.1:
            args.append("--full")
        env, who = self.env_of(v.store), self.rng.choice([None, "command", "tierd", "daemon", "daemon"])
        p = self.start(*args, env=env)
        if who:
            self.kill(who, p, 0, v)
        elif self.rng.random() < 0.15:
            time.sleep(self.rng.random() * 0.1)
            if jobs := [j["id"] for j in json.loads(self.must("job", "list", v.mount, "--json"))["jobs"] if j["state"] == "running"]:
                rc, _, _ = self.end(q := self.start("job", "cancel", v.mount, str(jobs[-1])), ["job", "cancel"])
                who = "cancel"
                self.count("cancelled")
        rc, out, err = self.end(p, args)
        if rc and not who:
            raise Wrong(f"{' '.join(args)}: exit {rc}: {out}{err}")
        v.settle()
        self.reconcile(0)
        if rc == 0:
            self.count("backups")
        if rc == 0 and shot not in self.points[0].values():
            raise Wrong(f"{shot} was acknowledged and is in no recovery point")
        if shot not in self.points[0].values():
            self.must(*args, env=env)
            self.reconcile(0)
            self.count("backups begun again")
            if shot not in self.points[0].values():
                raise Wrong(f"{shot} was acknowledged and is in no recovery point")

    def disturbed(self, k, *args):
        """A command at a repository, killed or not: its exit code, None where it was."""
        who = self.rng.choice([None, None, "command", "tierd"])
        p = self.start(*args)
        if who:
            self.kill(who, p, k, None)
        rc, out, err = self.end(p, args)
        return (rc, out, err) if rc >= 0 else (None, out, err)

    def later(self, k, seconds):
        """The clock of a directory is that of its files."""
        for at, _, files in os.walk(self.repos[k]):
            for f in files:
                st = os.lstat(f"{at}/{f}")
                os.utime(f"{at}/{f}", ns=(st.st_atime_ns, st.st_mtime_ns - seconds * 10**9))

    def prune(self):
        k = self.rng.choice([0, 0, 1])
        args = ["repo", "prune", *self.repo(k), *self.rng.choice([["--exclusive"], ["--grace", "1h"], ["--grace", "1h"]])]
        if self.rng.random() < 0.7:
            self.later(k, self.rng.choice([1900, 3700, 7300]))
        rc, out, err = self.disturbed(k, *args)
        if rc == 1 and "unlock" in err:  # somebody died with the lease
            if self.rng.random() < 0.5:
                self.must("repo", "unlock", f"dir:{self.repos[k]}", "--force")
                self.count("unlocked")
            else:
                self.later(k, 700)
            self.must(*args)
            rc = 0
        if rc == 0:
            self.count("prunes")
        elif rc is not None and not ("varve-tierd" in err or "unknown" in err or "closed" in err):
            self.count("prunes that failed")
            self.last_error = err
        self.reconcile(k)

    def storm(self):
        """Both stores back up, and somebody prunes, at the same time; somebody is killed."""
        pair = [self.rng.choice(self.volumes[:2]), self.volumes[2]]
        shots = [v.shoot() for v in pair]
        if self.rng.random() < 0.6:
            self.later(0, 3700)
        all_ = [["backup", "run", v.mount, "--snap", s, "--to", *self.repo(0)] for v, s in zip(pair, shots)]
        all_.append(["repo", "prune", *self.repo(0), "--grace", "1h"])
        ps = [self.start(*a, env=self.env_of(v.store)) for a, v in zip(all_, pair)] + [self.start(*all_[2])]
        at = self.rng.randrange(3)
        who = self.rng.choice([None, "command", "tierd", "daemon"] if at < 2 else [None, "command"])
        if who:
            self.kill(who, ps[at], 0, pair[at % 2])
        ends = [self.end(p, a) for p, a in zip(ps, all_)]
        for v in pair:
            v.settle()
        self.reconcile(0)
        for (rc, out, err), shot, a in zip(ends, shots, all_):
            if rc and not who:
                raise Wrong(f"{' '.join(a)}: exit {rc}: {out}{err}")
            if rc == 0 and shot not in self.points[0].values():
                raise Wrong(f"{shot} was acknowledged and is in no recovery point")
            self.did["backups"] = self.did.get("backups", 0) + (rc == 0)
        self.count("two writers and a prune at once")

    def delete(self, k=None):
        k = self.rng.choice([0, 0, 1]) if k is None else k
        if self.points[k]:
            id_ = self.rng.choice(sorted(self.points[k]))
            url, *key = self.repo(k)
            self.must("backup", "delete", f"{url}#{id_}", *key)
            del self.points[k][id_]
            self.count("deleted")

    def copy(self):
        k = self.rng.choice([0, 0, 1])
        if not self.points[k]:
            return
        id_ = self.rng.choice(sorted(self.points[k]))
        url, *key = self.repo(k)
        to, _, to_key = self.repo(1 - k)
        rc, out, err = self.disturbed(1 - k, "backup", "copy", f"{url}#{id_}", to, *key, "--to-key-file", to_key)
        self.reconcile(1 - k)
        if rc == 0:
            self.count("copies")
            if self.points[k][id_] not in self.points[1 - k].values():
                raise Wrong(f"the copy of {id_[:12]} was acknowledged and is not there")

    def restore(self, k=None, id_=None):
        k = self.rng.choice([0, 0, 1]) if k is None else k
        if not self.points[k]:
            return
        id_ = id_ or self.rng.choice(sorted(self.points[k]))
        url, *key = self.repo(k)
        plain, out = f"{self.dir}/{self.points[k][id_]}", f"{self.dir}/out"
        names = sorted(os.listdir(plain))
        if names and self.rng.random() < 0.3:
            name = self.rng.choice(names)
            self.must("restore", f"{url}#{id_}", name, out, *key)
            a, b = (picture(f"{x}/{name}") if os.path.isdir(f"{x}/{name}") and not os.path.islink(f"{x}/{name}")
                    else {".": node(f"{x}/{name}")} for x in (plain, out))
            for x in (*a.values(), *b.values()):  # other names of a file may not be there
                if not x[0].startswith("0o4"):
                    x[4] = 0
            same(a, b, f"{name} of {id_[:12]}")
            self.count("restores of paths")
        else:
            self.must("restore", f"{url}#{id_}", out, *key)
            same(picture(plain), picture(out), id_[:12])
            self.count("restores")
        shutil.rmtree(out)

    def instant(self):
        """Seen at once, read-only or as a volume, while varve-tierd dies, or the recovery point is deleted and others prune."""
        k = self.rng.choice([0, 0, 1])
        if not self.points[k]:
            return
        id_, store, at = self.rng.choice(sorted(self.points[k])), self.volumes[self.rng.choice([0, 2])].store, f"{self.dir}/instant"
        url, *key = self.repo(k)
        plain, volume = f"{self.dir}/{self.points[k][id_]}", [f"{store}/i{self.next()}"] if self.rng.random() < 0.5 else []
        how = ["--no-hydrate"] if self.rng.random() < 0.5 else []
        os.makedirs(at, exist_ok=True)
        self.must("mount", "--from", f"{url}#{id_}", *volume, at, *key, *how, env=self.env_of(store))
        trouble = self.rng.random()
        if trouble < 0.3:
            for pid in self.tierds(k):
                os.kill(pid, signal.SIGKILL)
                self.count("kill -9 of tierd")
        elif trouble < 0.5 and volume:
            self.must("backup", "delete", f"{url}#{id_}", *key)
            del self.points[k][id_]
            self.later(k, 3700)
            rc, _, err = self.end(self.start(*(args := ["repo", "prune", url, *key, "--exclusive"])), args)
            if rc and "unlock" not in err:
                raise Wrong(f"{' '.join(args)}: exit {rc}: {err}")
        same(picture(plain), picture(at), f"{id_[:12]} mounted")
        if volume:
            open(f"{at}/written", "w").write("here")
            self.must("umount", at)
            self.must("mount", volume[0], at, env=self.env_of(store))
            if open(f"{at}/written").read() != "here":
                raise Wrong(f"{volume[0]}: what was written is not there")
            os.unlink(f"{at}/written")
            st = os.lstat(plain)
            os.utime(at, ns=(st.st_atime_ns, st.st_mtime_ns))
            same(picture(plain), picture(at), f"{id_[:12]} mounted anew as {volume[0]}")
        self.must("umount", at)
        if volume:
            self.must("delete", volume[0])
        self.count("recovery points mounted")

    def verify(self, *how):
        for k in (0, 1):
            self.must("repo", "verify", *self.repo(k), *how)
        self.count("verified")

    def reindex(self):
        k = self.rng.choice([0, 0, 1])
        top = f"{self.repos[k]}/index"
        for name in os.listdir(top) if os.path.isdir(top) else []:
            if self.rng.random() < 0.4:
                os.unlink(f"{top}/{name}")
        self.must("repo", "verify", *self.repo(k), "--repair")
        self.count("indexes made anew")

    def remount(self):
        v = self.rng.choice(self.volumes)
        self.must("umount", v.mount)
        v.up()
        same(picture(v.plain), picture(v.mount), v.mount)
        self.count("mounted anew")

    def step(self):
        step = self.rng.choices([self.backup, self.storm, self.prune, self.delete, self.copy, self.restore, self.instant,
                                 self.verify, self.reindex, self.remount], [40, 5, 16, 6, 7, 8, 4, 2, 2, 2])[0]
        step()
        self.tidy()

    def judge(self):
        self.verify("--full")
        for k in (0, 1):
            for id_ in sorted(self.points[k]):
                self.restore(k, id_)
        for v in self.volumes:
            same(picture(v.plain), picture(v.mount), v.mount)

    def down(self):
        for at in [v.mount for v in self.volumes] + [f"{self.dir}/instant"]:
            subprocess.run([VARVE, "umount", at], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def main():
    top, seed, steps = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    os.umask(0o022)
    w, step = World(top, seed), -1
    try:
        for step in range(steps):
            w.step()
        w.judge()
    except Wrong as e:
        print(f"seed {seed}, step {step}: {e}")
        return 1
    finally:
        w.down()
        print("    " + ", ".join(f"{n} {what}" for what, n in sorted(w.did.items())), getattr(w, "last_error", "").strip())
    return 0


if __name__ == "__main__":
    sys.exit(main())
