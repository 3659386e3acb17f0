package boot

import (
	"strings"
	"testing"
)

// TestGroups: on a kernel with all controllers the limits of [cgroup] are real: a kill for memory is told as one, a fork
// bomb stays below pids_max and ends with its stop, cpu_max throttles, memory and CPU in status are those of the group.
func TestGroups(t *testing.T) {
	t.Parallel()
	config := bootScript(`
await() { for i in $(seq 300); do eval "$1" && return 0; usleep 100000; done; echo "T:never: $1"; zinit status $2; return 1; }
echo "T:way $(zinit status | grep -c 'tracking *cgroup /sys/fs/cgroup/')"
await 'zinit status hog | grep -q "out of memory"' hog && echo T:oom-text
await 'zinit status hog -o json | grep -q "\"kind\": *\"oom\""' hog && echo T:oom-kind
zinit status hog -o json | grep -q '"type": *"signal"' && echo T:oom-type
await 'zinit status partly | grep -q running' partly && echo T:partly
g=$(zinit status bomb | grep -o '/sys/fs/cgroup[^ ]*' | head -n 1)
await 'grep -q "max [1-9]" $g/pids.events $g/main/pids.events' bomb && echo "T:bomb $([ $(cat $g/pids.current) -le 30 ] && echo bounded)"
zinit stop bomb && await '! [ -d $g ]' bomb && echo "T:bomb gone $(ps -o args | grep -c '[b]oom')"
g=$(zinit status busy | grep -o '/sys/fs/cgroup[^ ]*' | head -n 1)
await 'grep -q "nr_throttled [1-9]" $g/cpu.stat' busy && echo T:throttled
echo "T:limits $(cat $g/cpu.max) $(cat $g/memory.max) $(cat $g/memory.high)"
g=$(zinit status fat | grep -o '/sys/fs/cgroup[^ ]*' | head -n 1)
near() { m=$(zinit status fat -o json | grep '"memory_bytes"' | tail -n 1 | tr -dc 0-9); c=$(cat $g/memory.current); [ $m -gt 4000000 ] && [ $((m-c)) -lt 500000 ] && [ $((c-m)) -lt 500000 ]; }
await near fat && echo T:memory
zinit stop all >/dev/null 2>&1; zinit stop fat busy partly
await '[ $(ls -d /sys/fs/cgroup/zinit-*/* | grep -c -v -e script -e supervisor -e "[.]procs" -e "/cgroup" -e "/cpu" -e "/memory" -e "/pids" -e "/io" -e hugetlb -e rdma -e misc) = 0 ]' && echo T:folders
echo T:end
zinit poweroff
`)
	policy := "[lifecycle]\nrestart = \"never\"\nstop_timeout_ms = 1000\n"
	config["services/hog.toml"] = "[service]\nname = \"hog\"\nexec = \"tail /dev/zero\"\n[cgroup]\nmemory_max = \"8M\"\n" + policy
	config["services/partly.toml"] = "[service]\nname = \"partly\"\nexec = \"(tail /dev/zero); sleep 100000\"\n[cgroup]\nmemory_max = \"8M\"\n" + policy
	config["services/bomb.toml"] = "[service]\nname = \"bomb\"\nexec = '''\nb() { b | b; }\nfor i in 1 2 3; do (trap \"\" TERM; : boom; while :; do (b); done) 2>/dev/null & done\nexec sleep 100000\n'''\n[cgroup]\npids_max = 30\n" + policy
	config["services/busy.toml"] = "[service]\nname = \"busy\"\nexec = \"while :; do :; done\"\n[cgroup]\ncpu_max = \"5%\"\nmemory_max = \"32M\"\nmemory_high = \"16M\"\n" + policy
	config["services/fat.toml"] = "[service]\nname = \"fat\"\nexec = '''\nx=$(head -c 5000000 /dev/zero | tr \"\\0\" x); sleep 100000 & wait\n'''\n" + policy
	m := boot(t, (&image{config: config, busybox: true}).build(t), "quiet")
	m.say("T:end")
	for _, want := range []string{"T:way 1\n", "T:oom-text\n", "T:oom-kind\n", "T:oom-type\n", "T:partly\n", "T:bomb bounded\n", "T:bomb gone 0\n",
		"T:throttled\n", "T:limits 5000 100000 33554432 16777216\n", "T:memory\n", "T:folders\n"} {
		if !strings.Contains(m.text(), want) {
			t.Errorf("no %q", want)
		}
	}
	m.ends(poweredOff)
}
