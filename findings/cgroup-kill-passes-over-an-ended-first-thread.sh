#!/usr/bin/env bash
# Linux 6.18: "echo 1 >cgroup.kill" passes over a process whose first thread has ended.
#
# A process may go on when the thread it began with has ended (pthread_exit(3) in main). /proc shows it as a zombie, Z, with
# further threads. The kernel's documentation says of cgroup.kill that all processes of the group and below it are killed. Such a
# process is not: the signal is sent to the first thread alone, which is no longer there to take it. kill(2) with the same pid,
# which is for the whole process, ends it. The file says nothing: the write succeeds, and cgroup.events goes on to say populated 1.
#
# Where it bears on zinit: after cgroup.kill a group is looked at again, and what is left in it is killed by pid (TestFirstThreadGone in test/e2e);
# no state letter alone says that a process is dead.
# Needs root, cgroup2 with cgroup.kill (Linux 5.14) and python3; makes one group and removes it.
set -euo pipefail
root=$(awk '$3 == "cgroup2" { print $2; exit }' /proc/mounts)
[ -n "$root" ] || { echo "no cgroup2 here"; exit 1; }
group=$root$(awk -F: '$1 == 0 { print $3 }' /proc/self/cgroup)/finding-$$
mkdir "$group"
trap 'for p in $(cat "$group/cgroup.procs" 2>/dev/null); do kill -KILL "$p" 2>/dev/null || true; done
	until rmdir "$group" 2>/dev/null; do sleep 0.05; done' EXIT

# begin whole|ended: a process in the group, all of it or without its first thread; sets pid
begin() {
	python3 - "$group" "$1" <<'PY' 2>/dev/null &
import ctypes, os, sys, threading
group, first = sys.argv[1:]
open(group + "/cgroup.procs", "w").write(str(os.getpid()))
threading.Thread(target=lambda: threading.Event().wait()).start()
if first == "ended":
    ctypes.CDLL(None).syscall({"x86_64": 60}.get(os.uname().machine, 93), 0)  # exit of this thread only
threading.Event().wait()
PY
	pid=$!
}
threads() { awk '/^Threads:/ { print $2 }' "/proc/$pid/status" 2>/dev/null; }
state() { awk '/^State:/ { print $2 }' "/proc/$pid/status"; }
await() { for _ in $(seq 200); do if "$@"; then return 0; fi; sleep 0.05; done; echo "never: $*"; return 1; }
in_group() { grep -qsx "$pid" "$group/cgroup.procs"; }
first_ended() { [ "$(state)" = Z ] && [ "$(threads)" -ge 1 ] && in_group; }
two_threads() { in_group && [ "$(threads)" = 2 ]; }
gone() { grep -qx 'populated 0' "$group/cgroup.events"; }

uname -sr
begin whole
await two_threads
echo 1 >"$group/cgroup.kill"
await gone
seen="a process of two threads: ended"
begin ended
await first_ended
echo 1 >"$group/cgroup.kill"
if await gone >/dev/null; then
	seen+="; one whose first thread has ended: ended"
else
	seen+="; one whose first thread has ended: $(state), still there after 10 s"
fi
kill -KILL "$pid" 2>/dev/null || true
await gone
seen+="; after kill(2): ended"
echo "$seen"
expected="a process of two threads: ended; one whose first thread has ended: Z, still there after 10 s; after kill(2): ended"
[ "$seen" = "$expected" ] || { echo "changed: expected"; echo "$expected"; exit 1; }
echo "as found"
