package boot

import (
	"strings"
	"testing"
)

// TestSyslog: PID 1 serves /dev/log. A message stands under the service whose process sent it, with its priority, also
// when the process is a grandchild; a sender goes on over the death of the server, and nothing it says is lost.
func TestSyslog(t *testing.T) {
	t.Parallel()
	config := bootScript(`
await() { for i in $(seq 300); do eval "$1" && return 0; usleep 100000; done; echo "T:never: $1"; zinit logs; return 1; }
[ -S /dev/log ] && echo "T:socket $(stat -c %a /dev/log)"
await 'zinit logs app -o json | grep "fake.*from the service" | grep "\"stream\":\"syslog\"" | grep "\"severity\":\"err\"" | grep -q "\"facility\":\"auth\""' && echo T:app
await 'zinit logs app --stream syslog -o cat | grep -q "from a grandchild"' && echo T:grandchild
(i=0; while [ $i -lt 200 ]; do i=$((i+1)); logger -t n $i; done; echo over >/tmp/over) &
usleep 300000; kill -9 $(zinit ping -o json | sed -n 's/.*"pid": \([0-9]*\).*/\1/p')
await '[ -e /tmp/over ]'; await 'zinit ping >/dev/null'
await 'zinit logs script --stream syslog -n all -o cat | grep -q "n: 200$"'
zinit logs script syslog --stream syslog -n all -o cat | grep 'n: [0-9]*$' | sort | uniq -c | sort -n >/tmp/all
echo "T:count $(wc -l </tmp/all) $(tail -n 1 /tmp/all | sed 's/^ *//; s/ .*//')"
echo "T:astray $(zinit logs syslog -n all -o cat | grep -c 'n: [0-9]*$')"
echo T:end
zinit poweroff
`)
	// The first sender lives on for a moment: before Linux 6.13 nobody can tell whose one was that has ended.
	config["services/app.toml"] = "[service]\nname = \"app\"\nexec = '''\n{ echo from the service; sleep 1; } | logger -p auth.err -t fake\n(sh -c 'setsid logger -t fake from a grandchild' &)\nexec sleep 100000\n'''\n"
	m := boot(t, (&image{config: config, busybox: true}).build(t), "quiet")
	m.say("T:end")
	for _, want := range []string{"T:socket 666\n", "T:app\n", "T:grandchild\n", "T:count 200 1\n"} {
		if !strings.Contains(m.text(), want) {
			t.Errorf("no %q", want)
		}
	}
	m.ends(poweredOff)
}
